package harness

import (
	"net/netip"

	"go4.org/netipx"
	"tailscale.com/tailcfg"
	"tailscale.com/types/ipproto"
	"tailscale.com/types/logger"
	"tailscale.com/wgengine/filter"
)

// Allows asks the official packet filter whether a node with this view accepts a packet from src to port on its own address of the
// same family.
func (v *View) Allows(src netip.Addr, port uint16, proto ipproto.Proto) (bool, error) {
	for _, own := range v.Self.Addresses {
		if own.Addr().Is4() == src.Is4() {
			return v.AllowsTo(src, own.Addr(), port, proto)
		}
	}
	return false, Errorf("the node has no address of the same family as %v", src)
}

// AllowsTo is [View.Allows] for another destination behind the node, such as an address of its subnet routes.
func (v *View) AllowsTo(src, dst netip.Addr, port uint16, proto ipproto.Proto) (bool, error) {
	return RulesAllow(v.Rules(), src, dst, port, proto)
}

// RulesAllow runs the official packet filter with these rules.
func RulesAllow(rules []tailcfg.FilterRule, src, dst netip.Addr, port uint16, proto ipproto.Proto) (bool, error) {
	matches, err := filter.MatchesFromFilterRules(rules)
	if err != nil {
		return false, err
	}
	var local netipx.IPSetBuilder
	local.Add(dst)
	set, err := local.IPSet()
	if err != nil {
		return false, err
	}
	f := filter.New(matches, nil, set, new(netipx.IPSet), nil, logger.Discard)
	return f.Check(src, dst, port, proto) == filter.Accept, nil
}
