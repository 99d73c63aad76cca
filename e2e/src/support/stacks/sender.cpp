// Sends by two member functions and receives by a third one, as sender.c does.
#include <arpa/inet.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace proof
{

class Random
{
	std::uint64_t state;

      public:
	explicit Random(std::uint64_t seed) : state(seed) {}

	std::size_t amount(std::size_t most)
	{
		state = state * 6364136223846793005u + 1442695040888963407u;
		return 1 + (state >> 33) % most;
	}
};

[[noreturn]] static void fail(const char *what)
{
	std::perror(what);
	std::exit(1);
}

class Sender
{
	int fd;
	Random random;
	std::vector<char> bytes = std::vector<char>(1 << 16);

      public:
	Sender(int fd, std::uint64_t seed) : fd(fd), random(seed) {}

	__attribute__((noinline)) std::uint64_t send_small()
	{
		ssize_t sent = ::send(fd, bytes.data(), random.amount(100), 0);
		if (sent <= 0)
			fail("send");
		return sent;
	}

	template <typename Length> __attribute__((noinline)) std::uint64_t send_large(Length most)
	{
		std::size_t left = random.amount(most), all = left;
		while (left) {
			ssize_t sent = ::write(fd, bytes.data(), left);
			if (sent <= 0)
				fail("write");
			left -= sent;
		}
		return all;
	}

	__attribute__((noinline)) std::uint64_t receive_all()
	{
		std::uint64_t all = 0;
		ssize_t received;
		while ((received = ::read(fd, bytes.data(), 100)) > 0)
			all += received;
		if (received < 0)
			fail("read");
		return all;
	}
};

} // namespace proof

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	sockaddr_in to = {};
	to.sin_family = AF_INET;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons(std::atoi(argv[1]));
	while (access(argv[2], F_OK))
		usleep(10000);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof(to)))
		proof::fail("connect");
	proof::Sender sender(fd, std::strtoull(argv[4], nullptr, 10));
	std::uint64_t small = 0, large = 0;
	for (int i = 0; i < std::atoi(argv[3]); i++) {
		small += sender.send_small();
		large += sender.send_large(20000);
		if (!i)
			usleep(300000);
	}
	shutdown(fd, SHUT_WR);
	std::uint64_t received = sender.receive_all();
	std::printf("{\"send_small\":%llu,\"send_large\":%llu,\"receive_all\":%llu}\n", (unsigned long long)small,
		    (unsigned long long)large, (unsigned long long)received);
}
