// Package harness runs a built headsail binary as a black box and gives tests the official clients to drive it with:
// raw protocol nodes over the official Noise transport, the official map session, and tailscaled with its command line.
//
// Everything that a test starts uses the test's own temporary folder, listens on free loopback ports and is stopped when the test ends.
package harness

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// Main runs the tests of a package. Tests mostly wait, so more of them run in parallel than there are cores.
func Main(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		flag.Set("test.parallel", "8")
	}
	if _, err := HeadsailBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
