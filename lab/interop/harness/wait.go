package harness

import (
	"fmt"
	"testing"
	"time"
)

// pollEvery is the pause between two calls of look in [Eventually]: much shorter than any limit, and much longer than a call.
const pollEvery = 20 * time.Millisecond

// Eventually calls look until it returns nil. After limit it fails the test with the last error.
// Use it only for state that must be polled; if there is an event, wait for that instead.
func Eventually(t testing.TB, limit time.Duration, what string, look func() error) {
	t.Helper()
	if err := Poll(limit, look); err != nil {
		t.Fatalf("%s: not within %v: %v", what, limit, err)
	}
}

// Poll calls look until it returns nil. After limit it returns the last error.
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

// Holds calls look repeatedly for the duration d and fails the test as soon as it returns an error. It checks that something does not happen.
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

// Bound is a time limit for a release build. A build without optimisation gets five times as much, so that the tests fail only for what
// is broken.
func Bound(release time.Duration) time.Duration {
	if IsDebugBuild() {
		return 5 * release
	}
	return release
}

// Errorf creates an error for a look function to return. It exists to keep those functions short.
func Errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }
