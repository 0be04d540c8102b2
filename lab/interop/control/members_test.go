package control

import (
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
