"""Command that writes its port to standard output and serves until it is killed."""

import argparse
import sys

from bench.cognito.responses import Population
from bench.cognito.server import Server

parser = argparse.ArgumentParser()
parser.add_argument("--users", type=int, required=True)
parser.add_argument("--devices-per-user", type=int, required=True)
parser.add_argument("--latency", type=float, required=True, help="seconds")
arguments = parser.parse_args()

server = Server(Population(arguments.users, arguments.devices_per_user), arguments.latency)
sys.stdout.write(f"{server.port}\n")
sys.stdout.flush()
server.serve()
