package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
)

// TestLateJoinMeasured lets nodes join one by one and measures when each watcher receives them.
// It checks the median over all joins of the slowest watcher, because a single stall of a shared machine proves nothing.
func TestLateJoinMeasured(t *testing.T) {
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	const watchers, joins = 20, 9
	streams := make([]*harness.Stream, watchers)
	for i := range streams {
		streams[i] = s.NewNode(t, fmt.Sprintf("watcher-%d", i)).Join(authKey)
	}
	var slowest []time.Duration
	for i := range joins {
		late := s.NewNode(t, fmt.Sprintf("late-%d", i))
		late.Register(authKey)
		created := createdAt(t, s, late.Key.Public())
		var worst time.Duration
		for _, st := range streams {
			f := st.WaitFrame(t, "the late node", 5*time.Second, func(f *harness.Frame) bool {
				return strings.Contains(string(f.JSON), late.Key.Public().String())
			})
			worst = max(worst, f.At.Sub(created))
		}
		slowest = append(slowest, worst)
	}
	slices.Sort(slowest)
	median := slowest[joins/2]
	t.Logf("%d watchers, %d joins: seen by all after %v (median), %v to %v", watchers, joins, median, slowest[0], slowest[joins-1])
	if median > 200*time.Millisecond {
		t.Errorf("all watchers see a late node %v after its registration, want at most 200ms", median)
	}
}

func TestEphemeralClient(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	alice := s.CreateUser("alice")
	stays := s.JoinClient(t, "stays", s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)
	brief := s.JoinClient(t, "brief", s.CreateKey(harness.Key{User: alice, Ephemeral: true}).Key)
	stays.WaitStatus(t, "the ephemeral peer", func(st *harness.Status) error {
		if _, ok := st.PeerNamed("brief"); !ok {
			return harness.Errorf("missing")
		}
		return nil
	})
	brief.Kill()
	stays.WaitStatus(t, "the deletion of the ephemeral peer", func(st *harness.Status) error {
		if _, ok := st.PeerNamed("brief"); ok {
			return harness.Errorf("still there")
		}
		return nil
	})
}

// TestVersions puts the oldest and the newest supported client into one mesh, and with HEADSAIL_INTEROP_ALL=1 also those between.
func TestVersions(t *testing.T) {
	t.Parallel()
	versions := []string{harness.OldestClient, harness.NewestClient}
	if harness.All() {
		versions = slices.Insert(versions, 1, harness.MiddleClients...)
	}
	s := harness.StartInsecureRelay(t)
	var clients []*harness.Client
	for _, version := range versions {
		name := "v" + strings.ReplaceAll(version, ".", "-")
		clients = append(clients, s.NewClient(t, name, harness.ClientVersion(version)))
	}
	harness.UpAll(t, clients, s.ReusableKey("alice"))
	pingAll(t, clients)
	eachPair(t, clients, func(from, to *harness.Client) error { return from.PingDirect(to.Name, pingLimit) })
}

// TestVersionsRelay is TestVersions without UDP.
func TestVersionsRelay(t *testing.T) {
	t.Parallel()
	s := harness.StartInsecureRelay(t)
	noUDP := harness.ClientEnv("TS_DEBUG_ALWAYS_USE_DERP=1")
	clients := []*harness.Client{
		s.NewClient(t, "oldest", harness.ClientVersion(harness.OldestClient), noUDP),
		s.NewClient(t, "newest", noUDP),
	}
	harness.UpAll(t, clients, s.ReusableKey("alice"))
	pingAll(t, clients)
}

// TestZeroConfig starts the server without any configuration and runs the command line that it prints.
func TestZeroConfig(t *testing.T) {
	t.Parallel()
	s := harness.StartZeroConfig(t)
	line := printedUp(t, s)
	for _, name := range []string{"first", "second"} {
		c := s.NewClient(t, name)
		args := strings.Fields(line)[2:]
		c.MustRun(append(append([]string{"up"}, args...), "--hostname="+name)...)
	}
	c := s.NewClient(t, "third")
	c.MustRun(append([]string{"up"}, strings.Fields(line)[2:]...)...)
	for _, name := range []string{"first", "second"} {
		if _, err := c.Ping(name, pingLimit); err != nil {
			t.Error(err)
		}
	}
	netcheckRegion(t, c)
	checkModes(t, s.DataDir())

	before := identities(s)
	s.Kill()
	s.Restart(t)
	if after := identities(s); len(after) != len(before) {
		t.Errorf("before the restart %v, after it %v", before, after)
	}
	if again := printedUp(t, s); again == line {
		t.Error("the second start prints the key of the first")
	}
}

func netcheckRegion(t *testing.T, c *harness.Client) {
	t.Helper()
	out := c.MustRun("netcheck")
	if !strings.Contains(out, "UDP: true") || !strings.Contains(out, "Nearest DERP: ") || strings.Contains(out, "unknown") {
		t.Errorf("netcheck: %s", out)
	}
}

// printedUp returns the last `tailscale up` command that the server printed.
func printedUp(t *testing.T, s *harness.Server) string {
	t.Helper()
	var line string
	harness.Eventually(t, 10*time.Second, "the printed command line", func() error {
		for l := range strings.Lines(s.Log()) {
			if i := strings.Index(l, "tailscale up "); i >= 0 && strings.Contains(l, "--auth-key") {
				line = strings.TrimSpace(l[i:])
			}
		}
		if line == "" {
			return harness.Errorf("not in %s", s.Log())
		}
		return nil
	})
	if !strings.Contains(line, "--login-server") || !strings.Contains(line, "http://") {
		t.Errorf("printed %q", line)
	}
	return line
}

// checkModes checks that only the owner may access the data folder and the key files.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: %v %v, want 0700", info.Mode().Perm(), err)
	}
	keys := 0
	filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if strings.HasSuffix(path, ".key") || strings.HasSuffix(path, ".pem") {
			keys++
			if info, err := entry.Info(); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v, want 0600", path, info.Mode().Perm())
			}
		}
		return nil
	})
	if keys == 0 {
		t.Errorf("no key files under %s", dir)
	}
}
