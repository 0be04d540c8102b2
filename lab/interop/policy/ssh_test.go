package policy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

func sshPolicy(rule string) string {
	return `{"tagOwners": {"tag:server": ["alice@"]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}], "ssh": [` + rule + `]}`
}

const (
	acceptRule = `{"action": "accept", "src": ["alice@"], "dst": ["tag:server"], "users": ["root", "deploy"]}`
	checkRule  = `{"action": "check", "src": ["alice@"], "dst": ["tag:server"], "users": ["root"], "checkPeriod": "1h"}`
)

type sshWorld struct {
	s                      *harness.Server
	laptop, server, other  *harness.Node
	serverStream           *harness.Stream
	laptopID, serverNodeID tailcfg.NodeID
}

func newSSHWorld(t *testing.T, rule string) *sshWorld {
	t.Helper()
	w := &sshWorld{s: harness.Start(t)}
	alice := w.s.CreateUser("alice")
	w.s.MustSetPolicy(t, sshPolicy(rule))
	w.laptop, w.server, w.other = w.s.NewNode(t, "laptop"), w.s.NewNode(t, "server"), w.s.NewNode(t, "other")
	st := w.laptop.Join(w.s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)
	w.serverStream = w.server.Join(w.s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:server"}}).Key)
	w.other.Join(w.s.ReusableKey("bob"))
	w.laptopID, w.serverNodeID = st.View().Self.ID, w.serverStream.View().Self.ID
	w.serverStream.Wait(t, "SSH rules", updateTimeout, func(v *harness.View) bool { return v.SSH != nil && len(v.SSH.Rules) > 0 })
	return w
}

func TestSSHRulesReachTheServerOnly(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t, acceptRule)
	rules := w.serverStream.View().SSH.Rules
	laptop := w.laptop.Fresh()
	if len(rules) != 1 {
		t.Fatalf("%d rules", len(rules))
	}
	r := rules[0]
	ips := map[string]bool{}
	for _, p := range r.Principals {
		ips[p.NodeIP] = true
	}
	for _, a := range laptop.Self.Addresses {
		if !ips[a.Addr().String()] {
			t.Errorf("principals %v lack %v", ips, a)
		}
	}
	if len(ips) != 2 || r.SSHUsers["root"] != "root" || r.SSHUsers["deploy"] != "deploy" || r.SSHUsers["*"] != "" {
		t.Errorf("principals %v, users %v", ips, r.SSHUsers)
	}
	if r.Action == nil || !r.Action.Accept || r.Action.Reject || r.Action.HoldAndDelegate != "" {
		t.Errorf("action %+v", r.Action)
	}
	if laptop.SSH != nil && len(laptop.SSH.Rules) != 0 {
		t.Errorf("the laptop has SSH rules: %+v", laptop.SSH.Rules)
	}
	w.s.MustSetPolicy(t, sshPolicy(checkRule))
	w.serverStream.Wait(t, "the check rule", updateTimeout, func(v *harness.View) bool {
		return v.SSH != nil && len(v.SSH.Rules) == 1 && v.SSH.Rules[0].Action.HoldAndDelegate != ""
	})
	if hold := w.serverStream.View().SSH.Rules[0].Action.HoldAndDelegate; !strings.HasPrefix(hold, "https://") {
		t.Errorf("https: HoldAndDelegate is %q, which clients refuse", hold)
	}
	w.serverStream.SameAsFresh(t, "ssh")
	w.s.MustSetPolicy(t, sshPolicy(""))
	w.serverStream.Wait(t, "no rules", updateTimeout, func(v *harness.View) bool { return v.SSH != nil && len(v.SSH.Rules) == 0 })
	w.serverStream.SameAsFresh(t, "no ssh")
}

// action asks the server for a decision at the URL of the rule, as the destination would.
func (w *sshWorld) action(t *testing.T, asker *harness.Node, url string) (int, *tailcfg.SSHAction) {
	t.Helper()
	_, rest, _ := strings.Cut(url, "://")
	_, path, _ := strings.Cut(rest, "/")
	for variable, value := range map[string]string{
		"$SRC_NODE_ID": fmt.Sprint(int64(w.laptopID)), "$DST_NODE_ID": fmt.Sprint(int64(w.serverNodeID)),
		"$SRC_NODE_IP": "100.64.0.1", "$DST_NODE_IP": "100.64.0.2", "$SSH_USER": "root", "$LOCAL_USER": "root",
	} {
		path = strings.ReplaceAll(path, variable, value)
	}
	status, body, err := asker.Call("GET", "/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK {
		return status, nil
	}
	a := new(tailcfg.SSHAction)
	if err := json.Unmarshal(body, a); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return status, a
}

func (w *sshWorld) holdURL() string {
	return w.serverStream.View().SSH.Rules[0].Action.HoldAndDelegate
}

var authID = regexp.MustCompile(`hskey-authreq-[A-Za-z0-9_-]+`)

// hold starts a check and returns the URL to wait at and the id to approve or deny.
func (w *sshWorld) hold(t *testing.T) (next, id string) {
	t.Helper()
	status, a := w.action(t, w.server, w.holdURL())
	if a == nil || a.HoldAndDelegate == "" || a.Accept || a.Reject {
		t.Fatalf("check: %d %+v, want another hold", status, a)
	}
	if id = authID.FindString(a.Message + " " + a.HoldAndDelegate); id == "" {
		t.Fatalf("no id to approve in %+v", a)
	}
	if !strings.Contains(a.Message, w.s.URL) {
		t.Errorf("the message shows no page to visit: %q", a.Message)
	}
	return a.HoldAndDelegate, id
}

func (w *sshWorld) await(t *testing.T, url string) <-chan *tailcfg.SSHAction {
	t.Helper()
	out := make(chan *tailcfg.SSHAction, 1)
	go func() {
		_, a := w.action(t, w.server, url)
		out <- a
	}()
	return out
}

func (w *sshWorld) decide(t *testing.T, verdict, id string) {
	t.Helper()
	if err := w.s.API("POST", "/api/v1/auth/"+verdict, map[string]any{"authId": id}, nil); err != nil {
		t.Fatal(err)
	}
}

func verdictOf(t *testing.T, out <-chan *tailcfg.SSHAction) *tailcfg.SSHAction {
	t.Helper()
	select {
	case a := <-out:
		if a == nil {
			t.Fatal("no action")
		}
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("the check is not answered within 10s of the decision")
		return nil
	}
}

func TestApprovedSSHCheckIsRemembered(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t, checkRule)
	next, id := w.hold(t)
	out := w.await(t, next)
	select {
	case a := <-out:
		t.Fatalf("answered before the decision: %+v", a)
	case <-time.After(300 * time.Millisecond):
	}
	w.decide(t, "approve", id)
	if a := verdictOf(t, out); !a.Accept || a.Reject {
		t.Fatalf("approved check: %+v", a)
	}
	// No further check is needed during the check period.
	if _, a := w.action(t, w.server, w.holdURL()); a == nil || !a.Accept {
		t.Errorf("again within the check period: %+v", a)
	}
}

func TestDeniedSSHCheck(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t, checkRule)
	next, id := w.hold(t)
	out := w.await(t, next)
	w.decide(t, "reject", id)
	if a := verdictOf(t, out); !a.Reject || a.Accept {
		t.Errorf("denied check: %+v", a)
	}
	if _, a := w.action(t, w.server, w.holdURL()); a == nil || a.Accept {
		t.Errorf("again after a denial: %+v", a)
	}
}

func TestOnlyTheDestinationMayAskForSSHChecks(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t, checkRule)
	if status, a := w.action(t, w.other, w.holdURL()); status/100 != 4 {
		t.Errorf("another machine asks: %d %+v", status, a)
	}
	if status, a := w.action(t, w.laptop, w.holdURL()); status/100 != 4 {
		t.Errorf("the source asks: %d %+v", status, a)
	}
	next, id := w.hold(t)
	if status, a := w.action(t, w.other, next); status/100 != 4 {
		t.Errorf("another machine waits: %d %+v", status, a)
	}
	for _, path := range []string{"/machine/ssh/action/x/to/y", "/machine/ssh/action/999999/to/999998", "/machine/ssh/action/0/to/0"} {
		if status, a := w.action(t, w.server, "https://control"+path); status/100 != 4 {
			t.Errorf("%s: %d %+v", path, status, a)
		}
	}
	// A session that the server does not know gets a new check, not an error.
	lost := strings.ReplaceAll(next, id, "hskey-authreq-aaaaaaaaaaaaaaaaaaaaaaaa")
	if status, a := w.action(t, w.server, lost); a == nil || a.HoldAndDelegate == "" || strings.Contains(a.HoldAndDelegate, "aaaaaaaaaaaa") {
		t.Errorf("unknown session: %d %+v", status, a)
	}
}

// shell opens an SSH session through the tailnet and runs a command. Messages that the server shows before the login go to banner.
func shell(c *harness.Client, host, user, command string, banner func(string)) (string, error) {
	conn, err := c.Dial(host + ":22")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	sc, chans, reqs, err := ssh.NewClientConn(conn, host, &ssh.ClientConfig{
		User: user, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		BannerCallback: func(text string) error { banner(text); return nil },
	})
	if err != nil {
		return "", err
	}
	client := ssh.NewClient(sc, chans, reqs)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.CombinedOutput(command)
	return string(out), err
}

func silent(string) {}

// TestTailscaleSSH opens sessions between two official clients: accepted, refused, and with a check.
func TestTailscaleSSH(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	alice := s.CreateUser("alice")
	s.MustSetPolicy(t, sshPolicy(acceptRule))
	server := s.NewClient(t, "server")
	server.Up(s.CreateKey(harness.Key{Reusable: true, Tags: []string{"tag:server"}}).Key, "--ssh")
	laptop := s.JoinClient(t, "laptop", s.CreateKey(harness.Key{User: alice, Reusable: true}).Key)
	addr := server.Address(4).String()
	if _, err := laptop.Ping(addr, 25*time.Second); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, "accepted session", func() error {
		out, err := shell(laptop, addr, "root", "echo hello", silent)
		if err == nil && !strings.Contains(out, "hello") {
			err = harness.Errorf("printed %q", out)
		}
		return err
	})
	if out, err := shell(laptop, addr, "nobody", "echo hello", silent); err == nil {
		t.Errorf("a user that the rule does not name: %q", out)
	}
	s.MustSetPolicy(t, sshPolicy(`{"action": "accept", "src": ["bob@"], "dst": ["tag:server"], "users": ["root"]}`))
	harness.Eventually(t, 30*time.Second, "refused session", func() error {
		if out, err := shell(laptop, addr, "root", "echo hello", silent); err == nil {
			return harness.Errorf("still accepted: %q", out)
		}
		return nil
	})

	s.MustSetPolicy(t, sshPolicy(checkRule))
	server.WaitNetmap(t, "the check rule", func(nm *harness.ClientMap) error {
		if nm.SSHPolicy == nil || len(nm.SSHPolicy.Rules) != 1 || nm.SSHPolicy.Rules[0].Action.HoldAndDelegate == "" {
			return harness.Errorf("SSH policy %+v", nm.SSHPolicy)
		}
		return nil
	})
	banners := make(chan string, 8)
	checked := make(chan error, 1)
	go func() {
		out, err := shell(laptop, addr, "root", "echo checked", func(text string) { banners <- text })
		if err == nil && !strings.Contains(out, "checked") {
			err = harness.Errorf("printed %q", out)
		}
		checked <- err
	}()
	for id := ""; id == ""; {
		select {
		case text := <-banners:
			id = authID.FindString(text)
			if id != "" {
				if err := s.API("POST", "/api/v1/auth/approve", map[string]any{"authId": id}, nil); err != nil {
					t.Fatal(err)
				}
			}
		case err := <-checked:
			t.Fatalf("the session ended before the check: %v", err)
		case <-time.After(30 * time.Second):
			t.Fatal("no check was requested")
		}
	}
	select {
	case err := <-checked:
		if err != nil {
			t.Errorf("approved session: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the approved session did not start")
	}
}
