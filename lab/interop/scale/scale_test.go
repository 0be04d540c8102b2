// Package scale lets many nodes join at once. Its measurements are meaningful only if nothing else runs on the machine.
package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const crowdSize = 200

// member is a node of the crowd. It decodes only as much of its frames as it needs to count peers, so that the test itself uses little
// CPU time.
type member struct {
	*harness.Node
	crowd *crowd
	peers map[int64]bool
}

type crowd struct {
	mu       sync.Mutex
	changed  chan struct{}
	complete int
	cuts     atomic.Int64 // streams that the server ended
	retries  atomic.Int64 // requests that had to be repeated
	frames   atomic.Int64
	bytes    atomic.Int64
	closing  atomic.Bool

	asking   sync.Mutex // one request at a time to a server that is restarting
	answered time.Time  // when the latest request that got a response was sent
}

// brief is the part of a map response that the crowd decodes.
type brief struct {
	Peers        []struct{ ID int64 }
	PeersChanged []struct{ ID int64 }
	PeersRemoved []int64
}

func (m *member) take(wire, plain []byte) error {
	var b brief
	if err := json.Unmarshal(plain, &b); err != nil {
		return err
	}
	m.crowd.frames.Add(1)
	m.crowd.bytes.Add(int64(len(wire)))
	m.crowd.mu.Lock()
	defer m.crowd.mu.Unlock()
	before := len(m.peers)
	if len(b.Peers) > 0 {
		clear(m.peers)
	}
	for _, id := range b.PeersRemoved {
		delete(m.peers, id)
	}
	for _, p := range slices.Concat(b.Peers, b.PeersChanged) {
		m.peers[p.ID] = true
	}
	m.crowd.account(before, len(m.peers))
	return nil
}

// account updates how many members see all the others. The caller holds the lock.
func (c *crowd) account(before, after int) {
	if (before >= crowdSize-1) == (after >= crowdSize-1) {
		return
	}
	if after >= crowdSize-1 {
		c.complete++
	} else {
		c.complete--
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *crowd) waitComplete(limit time.Duration) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		complete, changed := c.complete, c.changed
		c.mu.Unlock()
		if complete == crowdSize {
			return nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return fmt.Errorf("%d of %d complete after %v", complete, crowdSize, limit)
		}
	}
}

// forget empties all views, because the restarted server has to send everything again.
func (c *crowd) forget(members []*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range members {
		c.account(len(m.peers), 0)
		clear(m.peers)
	}
}

// stay keeps a stream open and quickly reopens it when it ends, to measure the server rather than the backoff of clients.
func (m *member) stay(ctx context.Context) {
	for ctx.Err() == nil {
		m.poll(ctx)
		if m.crowd.closing.Load() {
			return
		}
		m.crowd.cuts.Add(1)
		m.crowd.waitAnswering(ctx, m.Server.URL, time.Now())
	}
}

// waitAnswering returns as soon as the server has answered a request that was sent after the given time. Without it, the official
// dialer would wait ten seconds after a refused connection (with plain HTTP only), which is not what this test measures.
func (c *crowd) waitAnswering(ctx context.Context, url string, since time.Time) {
	c.asking.Lock()
	defer c.asking.Unlock()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for c.answered.Before(since) && ctx.Err() == nil {
		asked := time.Now()
		if res, err := http.Get(url + "/key?v=142"); err == nil {
			res.Body.Close()
			c.answered = asked
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (m *member) poll(ctx context.Context) error {
	res, err := m.Do(ctx, "POST", "/machine/map", m.MapRequest())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		m.crowd.retries.Add(1)
		return fmt.Errorf("status %s", res.Status)
	}
	return harness.ReadPayloads(res.Body, true, m.take)
}

func (m *member) enter(ctx context.Context, authKey string) error {
	if _, err := m.TryRegister(authKey); err != nil {
		m.crowd.retries.Add(1)
		return err
	}
	go m.stay(ctx)
	return m.TryUpdate()
}

func gather(t *testing.T, s *harness.Server) (*crowd, []*member, context.Context) {
	c := &crowd{changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		c.closing.Store(true)
		cancel()
	})
	if _, err := s.NoiseKey(ctx); err != nil {
		t.Fatal(err)
	}
	members := make([]*member, crowdSize)
	for i := range members {
		members[i] = &member{Node: s.NewNode(t, fmt.Sprintf("n%03d", i)), crowd: c, peers: map[int64]bool{}}
	}
	return c, members, ctx
}

func enterAll(t *testing.T, ctx context.Context, members []*member, authKey string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, m := range members {
		wg.Go(func() {
			if err := m.enter(ctx, authKey); err != nil {
				t.Errorf("%s: %v", m.Host.Hostname, err)
			}
		})
	}
	wg.Wait()
}

// TestCrowdRecoversFromCrash lets the crowd join and then kills the server. The machine may be busy, so only one of three rounds must
// meet the time limit. All other checks must pass in every round.
func TestCrowdRecoversFromCrash(t *testing.T) {
	limit := harness.Bound(3 * time.Second)
	var joined, back time.Duration
	for range 3 {
		joined, back = crowdRound(t)
		if joined <= limit && back <= limit {
			return
		}
	}
	t.Errorf("in the last of three rounds complete after %v, back after %v, want %v", joined, back, limit)
}

func crowdRound(t *testing.T) (joined, back time.Duration) {
	s := harness.Start(t)
	defer s.Kill()
	authKey := s.ReusableKey("alice")
	c, members, ctx := gather(t, s)
	defer c.closing.Store(true)

	begin := time.Now()
	enterAll(t, ctx, members, authKey)
	entered := time.Since(begin)
	if err := c.waitComplete(60 * time.Second); err != nil {
		t.Fatal(err)
	}
	joined = time.Since(begin)
	t.Logf("joined in %v, complete after %v, %d streams cut, %d retries; %d frames, %.1f MiB; RSS %d MiB, CPU %v",
		entered, joined, c.cuts.Load(), c.retries.Load(), c.frames.Load(), float64(c.bytes.Load())/(1<<20), s.Memory()>>20, s.CPU())
	if c.cuts.Load() != 0 || c.retries.Load() != 0 {
		t.Errorf("%d streams cut, %d requests refused", c.cuts.Load(), c.retries.Load())
	}
	router := members[7]
	router.Host.RoutableIPs = append(router.Host.RoutableIPs, prefix("10.7.0.0/16"))
	router.Update()
	s.ApproveRoutes(router.ID(), "10.7.0.0/16")

	before := facts(s)
	killed := time.Now()
	s.Kill()
	c.forget(members)
	s.Restart(t)
	up := time.Since(killed)
	if err := c.waitComplete(60 * time.Second); err != nil {
		t.Fatal(err)
	}
	back = time.Since(killed)
	t.Logf("after kill -9: listening after %v, all complete after %v; RSS %d MiB, CPU %v", up, back, s.Memory()>>20, s.CPU())
	if after := facts(s); !maps.Equal(before, after) {
		t.Errorf("before the crash %d nodes, after it %d, or they differ", len(before), len(after))
	}
	return joined, back
}

// facts lists what must survive a restart, as text by node id.
func facts(s *harness.Server) map[string]string {
	all := map[string]string{}
	for _, n := range s.Nodes() {
		all[n.ID] = fmt.Sprint(n.NodeKey, n.MachineKey, n.GivenName, n.IPAddresses, n.ApprovedRoutes, n.CreatedAt, n.Tags)
	}
	return all
}

func TestGracefulRestart(t *testing.T) {
	s := harness.Start(t)
	alice := s.CreateUser("alice")
	key := s.CreateKey(harness.Key{User: alice, Reusable: true})
	var made struct{ APIKey string }
	if err := s.API("POST", "/api/v1/apikey", map[string]any{"expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, &made); err != nil {
		t.Fatal(err)
	}
	policy := `{"acls":[{"action":"accept","src":["alice@"],"dst":["*:22"]}]}`
	s.MustSetPolicy(t, policy)
	st := s.NewNode(t, "n").Join(key.Key)
	before := facts(s)
	took := s.Stop()
	if took > 5*time.Second {
		t.Errorf("stopped after %v with a stream open", took)
	}
	<-st.Done()
	s.Restart(t)
	if after := facts(s); !maps.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	if got := s.Policy(); got != policy {
		t.Errorf("policy %q", got)
	}
	if err := s.RemoteAPI(made.APIKey, "GET", "/api/v1/user", nil, nil); err != nil {
		t.Errorf("API key: %v", err)
	}
	s.NewNode(t, "m").Register(key.Key)
	t.Logf("stopped within %v", took)
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }
