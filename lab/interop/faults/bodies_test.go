package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

func TestMalformedAndOversizedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	n := s.NewNode(t, "n")
	st := n.Join(authKey)
	nodeKey := n.Key.Public().String()
	big := strings.Repeat("x", 2<<20)
	deep := strings.Repeat("[", 100_000)
	bodies := map[string]string{
		"empty":               "",
		"not JSON":            "hello",
		"cut off":             `{"NodeKey":"` + nodeKey,
		"array":               "[]",
		"null":                "null",
		"wrong type":          `{"Version":"x","NodeKey":7}`,
		"bad key":             `{"Version":142,"NodeKey":"nodekey:zz"}`,
		"key of another type": `{"Version":142,"NodeKey":"mkey:` + strings.Repeat("a", 64) + `"}`,
		"oversized":           `{"Version":142,"NodeKey":"` + nodeKey + `","Hostinfo":{"Hostname":"` + big + `"}}`,
		"oversized noise":     big,
		"deeply nested":       `{"Version":142,"NodeKey":"` + nodeKey + `","Hostinfo":` + deep,
		"invalid UTF-8":       "{\"Version\":142,\"NodeKey\":\"\xff\xfe\"}",
	}
	for _, path := range []string{"/machine/register", "/machine/map"} {
		for name, body := range bodies {
			t.Run(path+" "+name, func(t *testing.T) {
				begin := time.Now()
				status, answer, err := n.Call("POST", path, []byte(body))
				if err != nil {
					if strings.HasPrefix(name, "oversized") {
						return // closing the connection midway is a refusal too
					}
					t.Fatal(err)
				}
				if status/100 != 4 {
					t.Errorf("status %d: %.200s, want a client error", status, answer)
				}
				if strings.HasPrefix(name, "oversized") && status != http.StatusRequestEntityTooLarge {
					t.Errorf("status %d, want 413", status)
				}
				if took := time.Since(begin); took > harness.Bound(time.Second) {
					t.Errorf("answered after %v", took)
				}
			})
		}
	}
	if err, ended := st.Ended(); ended {
		t.Errorf("the node's own stream ended: %v", err)
	}
	if nodes := s.Nodes(); len(nodes) != 1 {
		t.Errorf("%d nodes", len(nodes))
	}
	stop := slowestKeyAnswer(t, s)
	checkJoin(t, s, authKey)
	if worst := stop(); worst > harness.Bound(100*time.Millisecond) {
		t.Errorf("GET /key took %v", worst)
	}
}

func TestZeroNodeKeyIsRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "zero")
	req := n.RegisterRequest()
	req.NodeKey = key.NodePublic{}
	req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: s.ReusableKey("alice")}
	if res, err := n.Send(t.Context(), req); err == nil && harness.Refusal(res) == nil {
		t.Error("a zero node key was registered")
	}
	m := n.MapRequest()
	m.NodeKey = key.NodePublic{}
	if st, err := n.OpenStream(m); err == nil {
		if st.Await(2*time.Second, func(v *harness.View) bool { return v.Self != nil }) == nil {
			t.Error("a zero node key can poll")
		}
	}
	if nodes := s.Nodes(); len(nodes) != 0 {
		t.Errorf("%d nodes", len(nodes))
	}
}

func TestUnsupportedClientVersionIsRefused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	for _, version := range []tailcfg.CapabilityVersion{1, 68, 112} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			n := s.NewNode(t, "old")
			n.Version = version
			req := n.RegisterRequest()
			req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: authKey}
			res, err := n.Send(t.Context(), req)
			switch {
			case err != nil:
				// Refused before registration, with an HTTP status or during the handshake.
				t.Logf("refused: %v", err)
			case harness.Refusal(res) == nil:
				t.Error("an ancient client was registered")
			case res.Error == "" || !strings.Contains(strings.ToLower(res.Error), "version") && !strings.Contains(strings.ToLower(res.Error), "unsupported") && !strings.Contains(strings.ToLower(res.Error), "too old"):
				t.Errorf("the refusal gives no reason: %+v", res)
			}
			if _, ok := n.APINode(); ok {
				t.Error("the refused client has a node")
			}
			if st, err := n.OpenStream(n.MapRequest()); err == nil {
				st.Await(2*time.Second, func(v *harness.View) bool { return v.Self != nil })
				if st.View().Self != nil {
					t.Error("an ancient client can poll")
				}
			}
		})
	}
	floor := s.NewNode(t, "floor")
	floor.Version = 113
	floor.Join(authKey)
}
