// Package control checks the control protocol from outside: keys, registration, login, maps, expiry, names, limits.
package control

import (
	"testing"

	"headsail.invalid/interop/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
