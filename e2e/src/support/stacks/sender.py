"""Sends by two functions and receives by a third, as sender.c does."""

import os
import socket
import sys
import time

state = int(sys.argv[4])


def amount(most):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return 1 + (state >> 33) % most


def send_small(to):
    bytes = b"s" * amount(100)
    to.sendall(bytes)
    return len(bytes)


def send_large(to):
    bytes = b"l" * amount(20000)
    to.sendall(bytes)
    return len(bytes)


def receive_all(sock):
    all = 0
    while True:
        bytes = sock.recv(100)
        if not bytes:
            return all
        all += len(bytes)


while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
small = large = 0
for i in range(int(sys.argv[3])):
    small += send_small(connection)
    large += send_large(connection)
    if i == 0:
        time.sleep(0.3)
connection.shutdown(socket.SHUT_WR)
received = receive_all(connection)
print(f'{{"send_small":{small},"send_large":{large},"receive_all":{received}}}', flush=True)
