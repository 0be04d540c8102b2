package control

import (
	"fmt"
	"strings"
	"testing"

	"headsail.invalid/interop/harness"
)

func TestNodesDoNotGetNamesOfDNSRecords(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("dns.extra_records", []map[string]string{
		{"name": "grafana." + harness.BaseDomain, "type": "A", "value": "192.0.2.9"},
	}))
	n := s.NewNode(t, "Grafana")
	n.Register(s.ReusableKey("alice"))
	if got, _ := n.APINode(); got.GivenName != "grafana-1" {
		t.Errorf("a node got the name %q", got.GivenName)
	}
	if err := s.RenameNode(n.ID(), "grafana"); err == nil {
		t.Error("a node was renamed to the name of a record")
	}
}

func TestFreedAddressesAreNotGivenOutAfterRestart(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	s.NewNode(t, "first").Register(authKey)
	last := s.NewNode(t, "last")
	last.Register(authKey)
	freed := s.MustNode(last.ID()).IPAddresses
	s.DeleteNode(last.ID())
	s.Stop()
	s.Restart(t)
	next := s.NewNode(t, "next")
	next.Register(authKey)
	for i, ip := range s.MustNode(next.ID()).IPAddresses {
		if ip == freed[i] {
			t.Errorf("%v was given out again at once", ip)
		}
	}
}

// TestRenameStorm has a node change its name all the time. It is slowed down, but its address still reaches its peers, and other nodes
// and administrators are not affected.
func TestRenameStorm(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	viewer, stormy := s.NewNode(t, "viewer"), s.NewNode(t, "stormy")
	st := viewer.Join(authKey)
	stormy.Join(authKey)
	accepted, rounds := 0, 1500
	for i := range rounds {
		stormy.Host.Hostname = fmt.Sprintf("stormy-%d", i)
		stormy.Endpoints = endpoints(fmt.Sprintf("192.0.2.1:%d", i+1))
		if stormy.TryUpdate() == nil {
			accepted++
		}
	}
	if accepted < 100 || accepted > rounds/4 {
		t.Errorf("%d of %d changes were accepted", accepted, rounds)
	}
	st.Wait(t, "the last address", updateTimeout, func(v *harness.View) bool {
		p, ok := v.PeerKey(stormy.Key.Public())
		return ok && hasEndpoint(p, fmt.Sprintf("192.0.2.1:%d", rounds))
	})
	viewer.Host.Hostname = "renamed"
	viewer.Update()
	if err := s.RenameNode(stormy.ID(), "calm"); err != nil {
		t.Error(err)
	}
	if lines := strings.Count(s.Log(), "was renamed to `stormy-"); lines > 10 {
		t.Errorf("the log has %d lines about the storm", lines)
	}
	stormy.Close()
	stormy.Stream()
}

// TestTraceLogsContainNoSecrets registers with a valid and with an invalid pre-auth key while the server logs everything.
func TestTraceLogsContainNoSecrets(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("log.level", "trace"))
	authKey := s.ReusableKey("alice")
	wrong := authKey[:len(authKey)-8] + strings.Repeat("0", 8)
	n := s.NewNode(t, "n")
	if _, err := n.TryRegister(wrong); err == nil {
		t.Error("a wrong key was accepted")
	}
	n.Join(authKey)
	n.Update()
	var answer any
	if err := s.RemoteAPI(authKey, "GET", "/api/v1/node", nil, &answer); err == nil {
		t.Error("a pre-auth key was accepted as an API key")
	}
	log := s.Log()
	for _, secret := range []string{authKey, wrong} {
		if strings.Contains(log, secret[len(secret)-24:]) {
			t.Error("the log contains a pre-auth key")
		}
	}
}
