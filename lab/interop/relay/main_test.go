// Package relay checks the DERP relay and the STUN responder with the official clients of both.
package relay

import (
	"testing"

	"headsail.invalid/interop/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
