/*
 * Forks, executes itself, and starts and ends threads, all of which send and receive; prints the number of bytes that
 * they have moved. Arguments: port of the other end, file to wait for, number of generations, seed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define AT_ONCE 3

/* Number of bytes that all processes have moved, in a file without a name, which survives exec. */
static struct moved {
	uint64_t sent, received;
} *moved;
static int moved_fd, port;
static char bytes[1 << 16];

static void check(int is_fine, const char *what)
{
	if (!is_fine) {
		perror(what);
		_exit(1);
	}
}

static void count(uint64_t *sum, ssize_t length)
{
	__atomic_fetch_add(sum, length, __ATOMIC_RELAXED);
}

__attribute__((noinline)) static void transmit(int fd, size_t length)
{
	ssize_t sent = send(fd, bytes, length, 0);

	check(sent > 0, "send");
	count(&moved->sent, sent);
}

__attribute__((noinline)) static void finish(int fd)
{
	ssize_t received;

	shutdown(fd, SHUT_WR);
	while ((received = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		count(&moved->received, received);
	check(received == 0, "recv");
	close(fd);
}

static int dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_port = htons(port);
	check(!connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	return fd;
}

/* A thread that uses a connection of its own and, with other threads, the shared one. */
static void *thread(void *shared)
{
	int own = dial(), i;

	for (i = 0; i < 20; i++) {
		transmit(own, 1 + rand() % 3000);
		transmit((intptr_t)shared, 1 + rand() % 300);
	}
	finish(own);
	return NULL;
}

static void threads(int shared)
{
	pthread_t all[THREADS];
	int i;

	for (i = 0; i < THREADS; i++)
		check(!pthread_create(&all[i], NULL, thread, (void *)(intptr_t)shared), "pthread_create");
	for (i = 0; i < THREADS; i++)
		pthread_join(all[i], NULL);
}

/* Second thread of an executed program: it goes on after the first one has ended, and then ends the process. */
static void *last(void *shared)
{
	usleep(2000);
	transmit((intptr_t)shared, 50);
	finish((intptr_t)shared);
	exit(0);
}

static void open_moved(int fd)
{
	moved_fd = fd;
	moved = mmap(NULL, sizeof(*moved), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(moved != MAP_FAILED, "mmap");
}

static void wait_for(pid_t child)
{
	int status;

	check(waitpid(child, &status, 0) == child, "waitpid");
	check(WIFEXITED(status) && !WEXITSTATUS(status), "a child");
}

/* A child process: it sends, has a child that sends on the same connection, and executes the same program again. */
static void generation(void)
{
	char text[3][16];
	int shared = dial();
	pid_t child;

	transmit(shared, 1000);
	threads(shared);
	child = fork();
	if (!child) {
		transmit(shared, 2000);
		_exit(0);
	}
	wait_for(child);
	snprintf(text[0], 16, "%d", shared);
	snprintf(text[1], 16, "%d", moved_fd);
	snprintf(text[2], 16, "%d", port);
	execl("/proc/self/exe", "executed", text[0], text[1], text[2], NULL);
	check(0, "exec");
}

static void executed(char **argv)
{
	int shared = atoi(argv[1]);
	pthread_t other;

	open_moved(atoi(argv[2]));
	port = atoi(argv[3]);
	transmit(shared, 3000);
	threads(shared);
	check(!pthread_create(&other, NULL, last, (void *)(intptr_t)shared), "pthread_create");
	pthread_exit(NULL);
}

int main(int argc, char **argv)
{
	pid_t children[AT_ONCE];
	int i, j, fd;

	if (argc == 4)
		executed(argv);
	check(argc == 5, "usage");
	fd = memfd_create("moved", 0);
	check(fd >= 0 && !ftruncate(fd, sizeof(*moved)), "memfd_create");
	open_moved(fd);
	port = atoi(argv[1]);
	srand(atoi(argv[4]));
	while (access(argv[2], F_OK))
		usleep(10000);
	for (i = 0; i < atoi(argv[3]); i++) {
		for (j = 0; j < AT_ONCE; j++) {
			srand(rand());
			children[j] = fork();
			if (!children[j])
				generation();
		}
		for (j = 0; j < AT_ONCE; j++)
			wait_for(children[j]);
	}
	printf("{\"sent\":%llu,\"received\":%llu}\n", (unsigned long long)moved->sent,
	       (unsigned long long)moved->received);
	return 0;
}
