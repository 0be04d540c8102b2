package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Output collects what a command prints while it runs.
type Output struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

// CaptureLines collects the output of a command in an [Output]. The command must not have been started.
func CaptureLines(cmd *exec.Cmd) *Output {
	o := &Output{changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = o, o
	return o
}

// Write implements [io.Writer].
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

// All is the output so far.
func (o *Output) All() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Find waits for a word (bounded by white space) that starts with prefix and returns it.
func (o *Output) Find(ctx context.Context, prefix string) (string, error) {
	for {
		o.mu.Lock()
		text, changed := o.text.String(), o.changed
		o.mu.Unlock()
		for _, line := range strings.SplitAfter(text, "\n") {
			for _, word := range strings.Fields(line) {
				if strings.HasPrefix(word, prefix) && strings.HasSuffix(line, "\n") {
					return word, nil
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("no %q in %q", prefix, text)
		}
	}
}

// Get fetches a page that must exist.
func Get(t testing.TB, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", url, res.Status, err)
	}
	return string(body)
}

// CaptureErrors is [CaptureLines] for standard error only.
func CaptureErrors(cmd *exec.Cmd) *Output {
	o := &Output{changed: make(chan struct{})}
	cmd.Stderr = o
	return o
}
