package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// forward listens on a free port of 127.0.0.1, writes the address to addressFile, and executes itself again inside the
// network namespace netns, where it inherits the listener. A socket stays in the namespace in which it was created, so
// connections come in here and go out there. The program is executed again because a namespace belongs to a thread, and
// Go moves work between threads.
func forward(netns, target, addressFile string) error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen on loopback: %w", err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("take the listener's descriptor: %w", err)
	}
	if err := os.WriteFile(addressFile, []byte(listener.Addr().String()), 0o644); err != nil {
		return fmt.Errorf("publish the address: %w", err)
	}
	// exec keeps the descriptor of a plain dup, unlike descriptors that Go opens.
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		return fmt.Errorf("pass on the listener: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own program: %w", err)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("enter %s: %w", netns, err)
	}
	args := []string{"nsenter", "--net=" + netns, "--", self, "forward-inside", strconv.Itoa(fd), target}
	return fmt.Errorf("start %s: %w", nsenter, syscall.Exec(nsenter, args, os.Environ()))
}

// forwardInside serves the inherited listener until it is killed.
func forwardInside(descriptor, target string) error {
	fd, err := strconv.Atoi(descriptor)
	if err != nil {
		return fmt.Errorf("read the listener's descriptor: %w", err)
	}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go relay(conn.(*net.TCPConn), target)
	}
}

// relay carries both directions; each half-close is passed on, as exec and port-forward streams need.
func relay(outer *net.TCPConn, target string) {
	defer outer.Close()
	conn, err := net.Dial("tcp", target)
	if err != nil {
		// The API server is down. The client reports that its connection was closed.
		return
	}
	inner := conn.(*net.TCPConn)
	defer inner.Close()
	done := make(chan struct{})
	go func() {
		copyHalf(inner, outer)
		close(done)
	}()
	copyHalf(outer, inner)
	<-done
}

func copyHalf(to, from *net.TCPConn) {
	// The structs hide the methods by which io.Copy would use splice(2): Go keeps a pipe of 1 MiB for each spliced
	// connection. Some sixty such pipes exhaust the limit pipe-user-pages-soft of root without CAP_SYS_RESOURCE,
	// whose other processes on the machine then get pipes of one page (pipe(7)).
	if _, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from}); err != nil {
		// A reset: nothing more can pass in either direction.
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
}
