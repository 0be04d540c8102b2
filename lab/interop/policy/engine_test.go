package policy

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

// evalInput and evalOutput are the input and output of `headsail debug policy-eval`.
type evalInput struct {
	ID     string              `json:"id"`
	Policy string              `json:"policy"`
	Users  []evalUser          `json:"users"`
	Nodes  map[string]evalNode `json:"nodes"`
	Net    map[string]any      `json:"tailnet"`
}

type evalUser struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

type evalNode struct {
	Tags []string `json:"tags,omitempty"`
	User string   `json:"user,omitempty"`
	IPv4 string   `json:"ipv4"`
	IPv6 string   `json:"ipv6"`
}

type evalOutput struct {
	Error string
	Nodes map[string]struct {
		Rules []tailcfg.FilterRule
		Peers map[string]struct {
			AllowedIPs []string `json:"allowed_ips"`
		}
	}
}

// TestEngine compares what official clients received with the output of the policy engine, for every policy of the push test.
func TestEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	official := w.s.NewDirect(t, "watch", w.s.ReusableKey("dave"))
	official.Join(t)
	for _, p := range pushes {
		t.Run(p.name, func(t *testing.T) {
			text := `{` + owners + `, ` + w.fill(p.policy) + `}`
			w.s.MustSetPolicy(t, text)
			w.allFresh(t, p.name)
			said := w.evaluate(t, text)
			for name, st := range w.streams {
				view := st.View()
				var peers []string
				for peer := range said.Nodes[name].Peers {
					peers = append(peers, peer)
				}
				slices.Sort(peers)
				if told := view.PeerNames(); !slices.Equal(told, peers) {
					t.Errorf("%s: has peers %v, the engine says %v", name, told, peers)
				}
				if told, says := ruleText(view.Rules()), ruleText(said.Nodes[name].Rules); told != says {
					t.Errorf("%s: has rules\n%s\nthe engine says\n%s", name, told, says)
				}
			}
			told := ruleText(official.Netmap().PacketFilterRules.AsSlice())
			if says := ruleText(said.Nodes["watch"].Rules); told != says {
				t.Errorf("official client: has rules\n%s\nthe engine says\n%s", told, says)
			}
		})
	}
}

func (w *world) evaluate(t *testing.T, policy string) evalOutput {
	t.Helper()
	in := evalInput{ID: "live", Policy: policy, Nodes: map[string]evalNode{}, Net: map[string]any{"domains": []string{}}}
	for i, u := range w.s.Users() {
		in.Users = append(in.Users, evalUser{ID: i + 1, Name: u.Name, Email: u.Email})
	}
	for _, n := range w.s.Nodes() {
		e := evalNode{Tags: n.Tags, IPv4: n.IPAddresses[0].String(), IPv6: n.IPAddresses[1].String()}
		if len(n.Tags) == 0 {
			e.User = n.User.Name
		}
		in.Nodes[n.GivenName] = e
	}
	line, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := harness.HeadsailBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "debug", "policy-eval")
	cmd.Stdin = bytes.NewReader(append(line, '\n'))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("debug policy-eval: %v %s", err, out)
	}
	var answer evalOutput
	if err := json.Unmarshal(out, &answer); err != nil || answer.Error != "" {
		t.Fatalf("debug policy-eval: %v %s", err, out)
	}
	return answer
}

// ruleText writes one rule per line with sorted parts, so that equal sets of sources and ports give equal text.
func ruleText(rules []tailcfg.FilterRule) string {
	var lines []string
	for _, r := range rules {
		slices.Sort(r.SrcIPs)
		slices.Sort(r.IPProto)
		slices.SortFunc(r.DstPorts, func(a, b tailcfg.NetPortRange) int {
			if c := strings.Compare(a.IP, b.IP); c != 0 {
				return c
			}
			return int(a.Ports.First) - int(b.Ports.First)
		})
		data, _ := json.Marshal(r)
		lines = append(lines, string(data))
	}
	return strings.Join(lines, "\n")
}
