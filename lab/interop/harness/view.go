package harness

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// View is the state of a node after all frames so far. It follows the protocol more strictly than any client and rejects what a client
// would merely tolerate.
type View struct {
	Self    *tailcfg.Node
	Peers   map[tailcfg.NodeID]*tailcfg.Node
	Filters map[string][]tailcfg.FilterRule
	Users   map[tailcfg.UserID]tailcfg.UserProfile
	DERPMap *tailcfg.DERPMap
	DNS     *tailcfg.DNSConfig
	SSH     *tailcfg.SSHPolicy
	Domain  string
}

// NewView returns the empty view before the first frame.
func NewView() *View {
	return &View{
		Peers:   map[tailcfg.NodeID]*tailcfg.Node{},
		Filters: map[string][]tailcfg.FilterRule{},
		Users:   map[tailcfg.UserID]tailcfg.UserProfile{},
	}
}

// Clone copies the view. The nodes in it are shared, because they are never modified after they were applied.
func (v *View) Clone() *View {
	c := *v
	c.Peers, c.Filters, c.Users = maps.Clone(v.Peers), maps.Clone(v.Filters), maps.Clone(v.Users)
	return &c
}

// Apply applies one frame. An error means that the server violated the protocol.
func (v *View) Apply(r *tailcfg.MapResponse) error {
	if r.KeepAlive {
		return nil
	}
	if v.Self == nil && r.Node == nil {
		return fmt.Errorf("the first frame has no self node")
	}
	if r.Node != nil {
		v.Self = r.Node
	}
	if err := v.applyPeers(r); err != nil {
		return err
	}
	for _, p := range r.UserProfiles {
		v.Users[p.ID] = p
	}
	if r.PacketFilter != nil {
		v.Filters["base"] = r.PacketFilter
	}
	if rules, all := r.PacketFilters["*"]; all && rules == nil {
		clear(v.Filters)
	}
	for name, rules := range r.PacketFilters {
		if rules != nil {
			v.Filters[name] = rules
		} else {
			delete(v.Filters, name)
		}
	}
	if r.DERPMap != nil {
		next := *r.DERPMap
		if next.Regions == nil && v.DERPMap != nil {
			next.Regions = v.DERPMap.Regions
		}
		v.DERPMap = &next
	}
	if r.DNSConfig != nil {
		v.DNS = r.DNSConfig
	}
	if r.SSHPolicy != nil {
		v.SSH = r.SSHPolicy
	}
	if r.Domain != "" {
		v.Domain = r.Domain
	}
	return v.check()
}

func (v *View) applyPeers(r *tailcfg.MapResponse) error {
	if len(r.Peers) > 0 {
		clear(v.Peers)
		for _, p := range r.Peers {
			v.Peers[p.ID] = p
		}
		if len(r.PeersChanged)+len(r.PeersRemoved)+len(r.PeersChangedPatch) > 0 {
			return fmt.Errorf("a full peer list beside peer deltas")
		}
	}
	for _, id := range r.PeersRemoved {
		delete(v.Peers, id)
	}
	for _, p := range r.PeersChanged {
		v.Peers[p.ID] = p
	}
	now := time.Now().UTC()
	for id, seen := range r.PeerSeenChange {
		v.edit(id, func(p *tailcfg.Node) {
			p.LastSeen = nil
			if seen {
				p.LastSeen = &now
			}
		})
	}
	for id, online := range r.OnlineChange {
		v.edit(id, func(p *tailcfg.Node) { p.Online = &online })
	}
	for _, c := range r.PeersChangedPatch {
		if _, known := v.Peers[c.NodeID]; !known {
			return fmt.Errorf("patch for unknown peer %d", c.NodeID)
		}
		v.edit(c.NodeID, func(p *tailcfg.Node) { patch(p, c) })
	}
	return nil
}

// edit modifies a copy of a peer, because views share nodes.
func (v *View) edit(id tailcfg.NodeID, change func(*tailcfg.Node)) {
	if p, ok := v.Peers[id]; ok {
		c := *p
		change(&c)
		v.Peers[id] = &c
	}
}

func patch(p *tailcfg.Node, c *tailcfg.PeerChange) {
	if c.DERPRegion != 0 {
		p.HomeDERP = c.DERPRegion
	}
	if c.Cap != 0 {
		p.Cap = c.Cap
	}
	if c.CapMap != nil {
		p.CapMap = c.CapMap
	}
	if c.Endpoints != nil {
		p.Endpoints = c.Endpoints
	}
	if c.Key != nil {
		p.Key = *c.Key
	}
	if c.KeySignature != nil {
		p.KeySignature = c.KeySignature
	}
	if c.DiscoKey != nil {
		p.DiscoKey = *c.DiscoKey
	}
	if c.Online != nil {
		p.Online = c.Online
	}
	if c.LastSeen != nil {
		p.LastSeen = c.LastSeen
	}
	if c.KeyExpiry != nil {
		p.KeyExpiry = *c.KeyExpiry
	}
}

// check verifies what must hold after every frame.
func (v *View) check() error {
	for id, p := range v.Peers {
		switch {
		case id == v.Self.ID:
			return fmt.Errorf("the node is its own peer")
		case p.Key == v.Self.Key:
			return fmt.Errorf("peer %d has the node's own key", id)
		case p.ID <= 0 || p.StableID == "" || p.Key.IsZero() || len(p.Addresses) == 0:
			return fmt.Errorf("peer %d lacks id, stable id, key or addresses", id)
		case !p.Hostinfo.Valid():
			return fmt.Errorf("peer %d lacks Hostinfo: clients crash on that", id)
		}
		if _, ok := v.Users[p.User]; !ok {
			return fmt.Errorf("peer %d: no profile of user %d", id, p.User)
		}
	}
	return nil
}

// Peer finds a peer by the first label of its name.
func (v *View) Peer(name string) (*tailcfg.Node, bool) {
	for _, p := range v.Peers {
		if firstLabel(p.Name) == name {
			return p, true
		}
	}
	return nil, false
}

// PeerKey finds a peer by its node key.
func (v *View) PeerKey(k key.NodePublic) (*tailcfg.Node, bool) {
	for _, p := range v.Peers {
		if p.Key == k {
			return p, true
		}
	}
	return nil, false
}

// Sees reports whether all the given nodes are peers, with their current keys.
func (v *View) Sees(nodes ...*Node) bool {
	return !slices.ContainsFunc(nodes, func(n *Node) bool {
		_, ok := v.PeerKey(n.Key.Public())
		return !ok
	})
}

// Rules is the effective packet filter: the named lists in the order of their names.
func (v *View) Rules() []tailcfg.FilterRule {
	var all []tailcfg.FilterRule
	for _, name := range slices.Sorted(maps.Keys(v.Filters)) {
		all = append(all, v.Filters[name]...)
	}
	return all
}

// PeerNames lists the first labels of all peers, sorted.
func (v *View) PeerNames() []string {
	var names []string
	for _, p := range v.Peers {
		names = append(names, firstLabel(p.Name))
	}
	slices.Sort(names)
	return names
}

func firstLabel(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return label
}

// V4 is the node's IPv4 address in the tailnet.
func (v *View) V4() netip.Addr { return v.Self.Addresses[0].Addr() }

// Brief describes the view in test failures.
func (v *View) Brief() string {
	self := "none"
	if v.Self != nil {
		self = v.Self.Name
	}
	return fmt.Sprintf("self %s, peers %v, %d rules", self, v.PeerNames(), len(v.Rules()))
}

// Differs returns an error that lists the differences between this view, built from deltas, and a fresh one.
// Profiles of users who are no longer visible may remain, as they do in clients.
func (v *View) Differs(fresh *View) error {
	var diffs []string
	compare := func(what string, told, ought any) {
		a, b := canonical(told), canonical(ought)
		if a != b {
			diffs = append(diffs, fmt.Sprintf("%s:\n   told  %s\n   ought %s", what, a, b))
		}
	}
	compare("self", v.Self, fresh.Self)
	for id, p := range fresh.Peers {
		compare(fmt.Sprintf("peer %d", id), v.Peers[id], p)
	}
	for id, p := range v.Peers {
		if fresh.Peers[id] == nil {
			compare(fmt.Sprintf("peer %d", id), p, nil)
		}
	}
	for id, u := range fresh.Users {
		compare(fmt.Sprintf("user %d", id), v.Users[id], u)
	}
	compare("filter", v.Rules(), fresh.Rules())
	compare("derp map", v.DERPMap, fresh.DERPMap)
	compare("dns", v.DNS, fresh.DNS)
	compare("ssh", v.SSH, fresh.SSH)
	compare("domain", v.Domain, fresh.Domain)
	if len(diffs) == 0 {
		return nil
	}
	slices.Sort(diffs)
	return fmt.Errorf("%d differences\n%s", len(diffs), strings.Join(diffs, "\n"))
}

func canonical(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
