/*
 * Sends by two functions and receives by a third one, and prints the number of bytes that each has moved. Arguments:
 * port of the other end, file to wait for, number of rounds, seed.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Pause after the first round, in microseconds: the product can inspect a process only while it exists. */
#define MOMENT 300000

static char bytes[1 << 16];
static uint64_t state;

static size_t amount(size_t most)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return 1 + (state >> 33) % most;
}

static void check(int is_fine, const char *what)
{
	if (!is_fine) {
		perror(what);
		exit(1);
	}
}

__attribute__((noinline)) uint64_t send_small(int fd)
{
	ssize_t sent = send(fd, bytes, amount(100), 0);

	check(sent > 0, "send");
	return sent;
}

__attribute__((noinline)) uint64_t send_large(int fd)
{
	size_t left = amount(20000), all = left;

	while (left) {
		ssize_t sent = write(fd, bytes, left);

		check(sent > 0, "write");
		left -= sent;
	}
	return all;
}

__attribute__((noinline)) uint64_t receive_all(int fd)
{
	uint64_t all = 0;
	ssize_t received;

	while ((received = read(fd, bytes, 100)) > 0)
		all += received;
	check(received == 0, "read");
	return all;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint64_t small = 0, large = 0, received;
	int fd = socket(AF_INET, SOCK_STREAM, 0), i;

	check(argc == 5, "usage");
	to.sin_port = htons(atoi(argv[1]));
	state = strtoull(argv[4], NULL, 10);
	while (access(argv[2], F_OK))
		usleep(10000);
	check(!connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	for (i = 0; i < atoi(argv[3]); i++) {
		small += send_small(fd);
		large += send_large(fd);
		if (!i)
			usleep(MOMENT);
	}
	shutdown(fd, SHUT_WR);
	received = receive_all(fd);
	printf("{\"send_small\":%llu,\"send_large\":%llu,\"receive_all\":%llu}\n", (unsigned long long)small,
	       (unsigned long long)large, (unsigned long long)received);
	return 0;
}
