package faults

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/types/key"
)

// TestKillWhileJoining kills the server at different moments during many registrations. A node whose registration was acknowledged must
// exist afterwards with the same identity. Any other node may try again and must not exist twice.
func TestKillWhileJoining(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	var all []*harness.Node
	for round, delay := range []time.Duration{5, 20, 60, 120} {
		var mu sync.Mutex
		acknowledged := map[string]bool{}
		var wg sync.WaitGroup
		var rushing []*harness.Node
		for i := range 40 {
			n := s.NewNode(t, fmt.Sprintf("r%d-%d", round, i))
			rushing = append(rushing, n)
			wg.Go(func() {
				if _, err := n.TryRegister(authKey); err == nil {
					mu.Lock()
					acknowledged[n.Key.Public().String()] = true
					mu.Unlock()
				}
			})
		}
		<-time.After(delay * time.Millisecond)
		s.Kill()
		wg.Wait()
		s.Restart(t)
		for nodeKey := range acknowledged {
			if _, ok := s.NodeByKey(nodeKey); !ok {
				t.Errorf("round %d: %s was acknowledged but is missing", round, nodeKey)
			}
		}
		t.Logf("round %d: %d acknowledged before the crash, %d kept", round, len(acknowledged), len(s.Nodes())-len(all))
		for _, n := range rushing {
			n.Close()
			n.Register(authKey)
		}
		all = append(all, rushing...)
	}
	nodes := s.Nodes()
	if len(nodes) != len(all) {
		t.Errorf("%d nodes, want %d", len(nodes), len(all))
	}
	taken := map[string]string{}
	for _, n := range nodes {
		for _, what := range []string{n.IPAddresses[0].String(), n.GivenName, n.MachineKey} {
			if other, dup := taken[what]; dup {
				t.Errorf("%s and %s share %s", other, n.ID, what)
			}
			taken[what] = n.ID
		}
	}
}

// TestPendingFlood fills the table of pending logins. The table is bounded, and a login after the flood works.
func TestPendingFlood(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	before := s.Memory()
	flooder := s.NewNode(t, "flooder")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if _, err := flooder.Noise(ctx); err != nil {
		t.Fatal(err)
	}
	refused := 0
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		wg.Go(func() {
			for range 1500 {
				req := flooder.RegisterRequest()
				req.NodeKey = key.NewNode().Public()
				req.Hostinfo.Env = strings.Repeat("x", 8000)
				res, err := flooder.Send(ctx, req)
				if err != nil || res.AuthURL == "" {
					mu.Lock()
					refused++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	grew := (s.Memory() - before) >> 20
	t.Logf("%d of 6000 refused, the server grew by %d MiB", refused, grew)
	if grew > 48 {
		t.Errorf("the server grew by %d MiB", grew)
	}
	n := s.NewNode(t, "honest")
	res, err := n.Send(ctx, n.RegisterRequest())
	if err != nil || res.AuthURL == "" {
		t.Fatalf("login after the flood: %+v %v", res, err)
	}
	if err := s.RegisterAuth(harness.AuthID(res.AuthURL), "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.TryRegister(""); err != nil {
		t.Error(err)
	}
}

// TestWebFlood requests login pages that do not exist and malicious URLs.
func TestWebFlood(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	for _, path := range []string{"/register/x", "/register/%3Cscript%3Ealert(1)%3C/script%3E", "/register/../../etc/passwd", "/register/" + strings.Repeat("a", 5000), "/auth/x", "/nothing", "/api/v1/node/%00"} {
		res, err := http.Get(s.URL + path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		body := make([]byte, 1<<16)
		n, _ := res.Body.Read(body)
		res.Body.Close()
		if res.StatusCode/100 == 5 || strings.Contains(string(body[:n]), "<script>alert") {
			t.Errorf("%.60s: %s %.200s", path, res.Status, body[:n])
		}
	}
}

// TestHeldSocket passes a listening socket to the server, as systemd does. A client that connects while the server is down is not
// refused, but served as soon as the server is back.
func TestHeldSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:"+harness.FreePort(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "http://" + l.Addr().String()
	s := harness.Start(t, harness.Held(l))
	s.Kill()
	answered := make(chan error, 1)
	go func() {
		res, err := http.Get(url + "/key?v=142")
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("answered %s", res.Status)
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a request was answered without a server: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	s.Restart(t)
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server did not accept the waiting connection")
	}
}
