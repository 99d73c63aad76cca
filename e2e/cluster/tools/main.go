// Command tools contains the programs of the test cluster that are not published elsewhere:
//
//	tools forward NETNS TARGET ADDRESS-FILE   a loopback listener whose connections start in another network namespace
//	tools proxy LISTEN TARGET CERTIFICATE KEY AUTHORITY FAULTS-FILE
//	                                          a server in front of the API server that causes the faults in the file
//	tools pause                               the process that holds a pod's namespaces open
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	args := os.Args[1:]
	// In the pause image, whose only file it is, the program is called by its own name.
	if filepath.Base(os.Args[0]) == "pause" {
		args = []string{"pause"}
	}
	if err := run(args); err != nil {
		fmt.Fprintf(os.Stderr, "tools: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "pause":
		return pause()
	case len(args) == 4 && args[0] == "forward":
		return forward(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "forward-inside":
		return forwardInside(args[1], args[2])
	case len(args) == 7 && args[0] == "proxy":
		return proxy(args[1], args[2], args[3], args[4], args[5], args[6])
	}
	return fmt.Errorf("expected `pause`, `proxy` with its six arguments or `forward NETNS TARGET ADDRESS-FILE`, got %q", args)
}
