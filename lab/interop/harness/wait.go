package harness

import (
	"fmt"
	"testing"
	"time"
)

// pollEvery is the pause between two looks of [Eventually]: short beside every limit, long beside the cost of a look.
const pollEvery = 20 * time.Millisecond

// Eventually calls look until it returns nil and fails the test with its last error after limit.
// It is for facts that can only be asked for; where something announces itself, wait for that instead.
func Eventually(t testing.TB, limit time.Duration, what string, look func() error) {
	t.Helper()
	if err := Poll(limit, look); err != nil {
		t.Fatalf("%s: not within %v: %v", what, limit, err)
	}
}

// Poll calls look until it returns nil; after limit it returns the last error.
func Poll(limit time.Duration, look func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}

// Holds calls look for the whole of d and fails the test as soon as it returns an error: for what must not happen.
func Holds(t testing.TB, d time.Duration, what string, look func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if err := look(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// Bound is a time limit that was promised for a release build. A build without optimisation gets five times as much, so that
// the same checks still find what is broken rather than slow.
func Bound(release time.Duration) time.Duration {
	if IsDebugBuild() {
		return 5 * release
	}
	return release
}

// Errorf makes the error that a look returns; it exists to keep looks short.
func Errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }
