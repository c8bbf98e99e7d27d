"""The bundled Cognito: an HTTP server that any AWS SDK can talk to, behind `demo` and the integration tests.

One world, and moto owns it. Pools, users, groups, app clients, sign-ins and STS are moto's own objects
and operations; this package adds what moto lacks and what moto is too slow for, on those same objects:

* Device tracking (`devices`, `tracking`): a user's devices hang on moto's user object and go with it.
  CreateUserPool, UpdateUserPool and DescribeUserPool carry the DeviceConfiguration in moto already.
* ListUsers, ListUsersInGroup and the device operations (`listings`) read moto's dictionaries and
  build only what goes out: moto's own ListUsers manages about 100 requests a second.
* Seeding (`seed`) writes users straight into moto's dictionaries.

So a user made by SignUp or AdminCreateUser is listed, one deleted is gone with the devices, and no
second store has to be kept in step. A store of our own, with moto beside it, would be faster still
and wrong sooner.

moto is called as a library (`world`), without its server, which needs Flask; the HTTP side
(`server`) is the standard library's threading server: a connection costs a thread, a delay is a wait, a dropped
connection is one, and it keeps up with far more than boto3 can ask.

moto's world is one per process: emulators in one process share accounts, and each forgets its pools
when it is closed.
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
