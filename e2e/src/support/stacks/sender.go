// Sends by two functions and receives by a third one, as sender.c does.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

type random uint64

func (r *random) amount(most uint64) int {
	*r = *r*6364136223846793005 + 1442695040888963407
	return int(1 + (uint64(*r)>>33)%most)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

//go:noinline
func sendSmall(to net.Conn, r *random) int {
	sent, err := to.Write(make([]byte, r.amount(100)))
	check(err)
	return sent
}

//go:noinline
func sendLarge(to net.Conn, r *random) int {
	sent, err := to.Write(make([]byte, r.amount(20000)))
	check(err)
	return sent
}

//go:noinline
func receiveAll(from net.Conn) int {
	all, bytes := 0, make([]byte, 100)
	for {
		received, err := from.Read(bytes)
		all += received
		if err == io.EOF {
			return all
		}
		check(err)
	}
}

func number(index int) uint64 {
	n, err := strconv.ParseUint(os.Args[index], 10, 64)
	check(err)
	return n
}

func main() {
	for {
		if _, err := os.Stat(os.Args[2]); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", number(1)))
	check(err)
	r := random(number(4))
	small, large := 0, 0
	for i := uint64(0); i < number(3); i++ {
		small += sendSmall(conn, &r)
		large += sendLarge(conn, &r)
		if i == 0 {
			time.Sleep(300 * time.Millisecond)
		}
	}
	check(conn.(*net.TCPConn).CloseWrite())
	received := receiveAll(conn)
	fmt.Printf("{\"send_small\":%d,\"send_large\":%d,\"receive_all\":%d}\n", small, large, received)
}
