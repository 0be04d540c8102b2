package harness

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tailscale.com/control/controlclient"
	"tailscale.com/health"
	"tailscale.com/net/netmon"
	"tailscale.com/net/tsdial"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
	"tailscale.com/types/netmap"
	"tailscale.com/types/persist"
	"tailscale.com/util/eventbus"
)

// Direct is the control client of the official daemon without its engine: login, map session and merging of deltas.
type Direct struct {
	C *controlclient.Direct

	machine key.MachinePrivate
	name    string
	mu      sync.Mutex
	changed chan struct{}
	netmap  *netmap.NetworkMap
	cancel  context.CancelFunc
	polled  chan struct{}
	err     error
}

// NewDirect creates a client with fresh keys that has not logged in yet.
func (s *Server) NewDirect(t testing.TB, hostname, authKey string) *Direct {
	t.Helper()
	bus := eventbus.New()
	t.Cleanup(bus.Close)
	dialer := tsdial.NewDialer(netmon.NewStatic())
	dialer.SetBus(bus)
	machine := key.NewMachine()
	c, err := controlclient.NewDirect(controlclient.Options{
		Persist:              persist.Persist{},
		GetMachinePrivateKey: func() (key.MachinePrivate, error) { return machine, nil },
		ServerURL:            s.URL,
		AuthKey:              authKey,
		Hostinfo:             &tailcfg.Hostinfo{Hostname: hostname, BackendLogID: "log-" + hostname, OS: "linux", NetInfo: &tailcfg.NetInfo{PreferredDERP: DERPRegion}},
		DiscoPublicKey:       key.NewDisco().Public(),
		Logf:                 logger.Discard,
		HealthTracker:        health.NewTracker(bus),
		Dialer:               dialer,
		Bus:                  bus,
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &Direct{C: c, machine: machine, name: hostname, changed: make(chan struct{})}
	t.Cleanup(d.Close)
	return d
}

// Login logs in with the pre-auth key.
func (d *Direct) Login(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	url, err := d.C.TryLogin(ctx, controlclient.LoginDefault)
	if err != nil || url != "" {
		t.Fatalf("%s: login: %v %s", d.name, err, url)
	}
}

// Poll opens the map stream in the background.
func (d *Direct) Poll() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel, d.polled = cancel, make(chan struct{})
	go func() {
		defer close(d.polled)
		err := d.C.PollNetMap(ctx, d)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.err = err
	}()
}

// Join logs in, opens the stream and waits for the first map.
func (d *Direct) Join(t testing.TB) {
	t.Helper()
	d.Login(t)
	d.Poll()
	d.Wait(t, "first map", func(nm *netmap.NetworkMap) bool { return nm.SelfNode.Valid() })
}

// SetEndpoints changes the endpoints and sends the update.
func (d *Direct) SetEndpoints(t testing.TB, endpoints ...string) {
	t.Helper()
	var eps []tailcfg.Endpoint
	for _, e := range endpoints {
		eps = append(eps, tailcfg.Endpoint{Addr: netip.MustParseAddrPort(e), Type: tailcfg.EndpointLocal})
	}
	d.C.SetEndpoints(eps)
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	if err := d.C.SendUpdate(ctx); err != nil {
		t.Fatalf("%s: update: %v", d.name, err)
	}
}

// UpdateFullNetmap implements [controlclient.NetmapUpdater].
func (d *Direct) UpdateFullNetmap(nm *netmap.NetworkMap) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.netmap = nm
	close(d.changed)
	d.changed = make(chan struct{})
}

// Netmap is the latest netmap, or nil before the first one.
func (d *Direct) Netmap() *netmap.NetworkMap {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.netmap
}

// Wait blocks until ok accepts the netmap.
func (d *Direct) Wait(t testing.TB, what string, ok func(*netmap.NetworkMap) bool) {
	t.Helper()
	if err := d.await(15*time.Second, ok); err != nil {
		t.Fatalf("%s waits for %s: %v", d.name, what, err)
	}
}

func (d *Direct) await(limit time.Duration, ok func(*netmap.NetworkMap) bool) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		d.mu.Lock()
		nm, changed := d.netmap, d.changed
		d.mu.Unlock()
		if nm != nil && ok(nm) {
			return nil
		}
		select {
		case <-changed:
		case <-d.polled:
			return fmt.Errorf("stream ended: %v", d.err)
		case <-timeout.C:
			return errors.New("not within " + limit.String())
		}
	}
}

// Peer finds a peer in a netmap by the first label of its name.
func Peer(nm *netmap.NetworkMap, name string) (tailcfg.NodeView, bool) {
	for _, p := range nm.Peers {
		if p.ComputedName() == name || firstLabel(p.Name()) == name {
			return p, true
		}
	}
	return tailcfg.NodeView{}, false
}

// Leave ends the stream without logging out.
func (d *Direct) Leave() {
	if d.cancel != nil {
		d.cancel()
		<-d.polled
	}
}

// Close ends the client.
func (d *Direct) Close() {
	d.Leave()
	d.C.Close()
}

// Twin is a raw node with the same keys. It fetches the full map that the official client should have.
func (d *Direct) Twin(t testing.TB, s *Server) *Node {
	t.Helper()
	n := s.NodeOf(t, d.machine, d.name)
	n.Key = d.C.GetPersist().PrivateNodeKey()
	return n
}

// SameAsFresh waits until the official client's netmap, which it has built from deltas, equals a fresh full map. Fields that the
// client computes itself are ignored.
func (d *Direct) SameAsFresh(t testing.TB, twin *Node, when string) {
	t.Helper()
	Eventually(t, 5*time.Second, when+": the official client has the same netmap as a fresh map", func() error {
		fresh, nm := twin.Fresh(), d.Netmap()
		told := NewView()
		told.Self = plain(nm.SelfNode.AsStruct())
		for _, p := range nm.Peers {
			told.Peers[p.ID()] = plain(p.AsStruct())
		}
		told.Filters["base"] = nm.PacketFilterRules.AsSlice()
		ought := fresh.Clone()
		ought.Self = plain(fresh.Self)
		for id, p := range fresh.Peers {
			ought.Peers[id] = plain(p)
		}
		ought.Users = nil
		told.DERPMap, told.DNS, told.SSH, told.Domain = ought.DERPMap, ought.DNS, ought.SSH, ought.Domain
		return told.Differs(ought)
	})
}

// plain removes the fields of a node that the official client adds or computes itself.
func plain(n *tailcfg.Node) *tailcfg.Node {
	c := n.Clone()
	c.ComputedName, c.ComputedNameWithHost = "", ""
	c.Expired = false
	c.LegacyDERPString = ""
	if len(c.Endpoints) == 0 {
		c.Endpoints = nil
	}
	return c
}
