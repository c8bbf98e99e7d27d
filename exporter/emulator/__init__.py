"""Bundled Cognito emulator: an HTTP server for any AWS SDK, used by `demo` and the integration tests.

moto holds all state. Pools, users, groups, app clients, sign-ins and STS are moto's own objects and operations; this
package adds what moto lacks, and replaces what is too slow, on those same objects:

* Device tracking (`devices`, `tracking`): a user's devices are stored on moto's user object and deleted with it. moto
  itself supports the DeviceConfiguration in CreateUserPool, UpdateUserPool and DescribeUserPool.
* ListUserPools, ListUsers, ListUsersInGroup and the device listings (`listings`) read moto's dictionaries and build
  only the response: moto's own ListUsers handles about 100 requests per second.
* Seeding (`seed`) writes users directly into moto's dictionaries.

A user created by SignUp or AdminCreateUser is therefore listed, and a deleted user disappears with the devices. A
separate store would be faster, but would have to be kept in sync with moto.

moto is called as a library (`world`), without its server, which needs Flask. The HTTP side (`server`) is the threading
server of the standard library: each connection has a thread, so that delays and dropped connections are easy to
emulate, and it handles far more requests than boto3 can send.

moto's state is global to the process: emulators in one process share accounts, and each deletes its own pools when it
is closed.
"""

from exporter.emulator.emulator import Emulator, PoolTruth
from exporter.emulator.faults import ANY_OPERATION, Chain, Fault, Faults, Paging, Rule
from exporter.emulator.request_log import Request
from exporter.emulator.seed import SEED_PASSWORD, AgeDistribution, AgeGroup, DeviceMix

__all__ = [
    "ANY_OPERATION",
    "SEED_PASSWORD",
    "AgeDistribution",
    "AgeGroup",
    "Chain",
    "DeviceMix",
    "Emulator",
    "Fault",
    "Faults",
    "Paging",
    "PoolTruth",
    "Request",
    "Rule",
]
