package main

import (
	"os"
	"os/signal"
	"syscall"
)

// pause sleeps until SIGINT or SIGTERM. As process 1 of a pod with a shared process namespace it inherits orphans, and
// must reap them.
func pause() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGINT, syscall.SIGTERM)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return nil
		}
		for {
			// Signals coalesce: one may stand for several children.
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
	return nil
}
