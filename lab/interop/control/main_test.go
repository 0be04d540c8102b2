// Package control checks the control protocol from outside: keys, registration, login, maps, expiry, names, limits.
// The names of the tests start with the numbers of the black-box checks that they hold the server to.
package control

import (
	"testing"

	"headsail.invalid/interop/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
