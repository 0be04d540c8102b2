// Package cli runs the administrator's commands: current and older names, aliases and flags, tables for people, and JSON and YAML for
// programs.
package cli

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headsail.invalid/interop/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// prints runs a command that must succeed and checks that its output contains all of these.
func prints(t *testing.T, s *harness.Server, line string, want ...string) string {
	t.Helper()
	out, err := s.CLI(strings.Fields(line)...)
	if err != nil {
		t.Error(err)
		return ""
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("headsail %s: no %q in\n%s", line, w, out)
		}
	}
	return out
}

// fails runs a command that must be refused, with an error that contains words.
func fails(t *testing.T, s *harness.Server, line string, words string) {
	t.Helper()
	out, err := s.CLI(strings.Fields(line)...)
	if err == nil {
		t.Errorf("headsail %s succeeded: %s", line, out)
	} else if !strings.Contains(strings.ToLower(err.Error()), words) {
		t.Errorf("headsail %s: no %q in %v", line, words, err)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	var made harness.User
	s.MustCLI(t, &made, "users", "create", "alice", "-d", "Alice A", "-e", "alice@example.com")
	if made.ID != "1" || made.Name != "alice" || made.DisplayName != "Alice A" || made.Email != "alice@example.com" {
		t.Errorf("created %+v", made)
	}
	prints(t, s, "user c bob")
	prints(t, s, "users list", "alice", "bob", "alice@example.com", "ID", "Username")
	prints(t, s, "users ls -n bob", "bob")
	if out := prints(t, s, "users show --name bob"); strings.Contains(out, "alice") {
		t.Errorf("filtered list: %s", out)
	}
	var list []harness.User
	s.MustCLI(t, &list, "users", "list")
	if len(list) != 2 || list[1].Name != "bob" {
		t.Errorf("list %+v", list)
	}
	prints(t, s, "users list -o yaml", "name: alice")
	if out := prints(t, s, "users list -o json-line"); strings.Count(strings.TrimSpace(out), "\n") != 0 {
		t.Errorf("json-line has several lines: %s", out)
	}
	prints(t, s, "users rename -i 2 -r robert")
	prints(t, s, "users list", "robert")
	fails(t, s, "users create alice", "alice")
	fails(t, s, "users rename -i 99 -r x", "99")
	prints(t, s, "users destroy -i 2 --force")
	fails(t, s, "users destroy --name robert --force", "robert")
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	var key harness.PreAuthKey
	s.MustCLI(t, &key, "preauthkeys", "create", "-u", "1", "--reusable", "--ephemeral", "-e", "24h")
	if !strings.HasPrefix(key.Key, "hskey-auth-") || !key.Reusable || !key.Ephemeral || key.User == nil || key.User.Name != "alice" {
		t.Errorf("created %+v", key)
	}
	plain := strings.TrimSpace(prints(t, s, "authkey create --user 1 --expiration 1h"))
	s.NewNode(t, "by-cli").Register(plain)
	tagged := strings.TrimSpace(prints(t, s, "pre new --tags tag:x"))
	if !strings.HasPrefix(tagged, "hskey-auth-") {
		t.Errorf("a key with tags prints %q", tagged)
	}
	out := prints(t, s, "preauthkeys list", "alice", "tag:x")
	if strings.Contains(out, plain) || strings.Contains(out, key.Key) {
		t.Errorf("the list shows secrets: %s", out)
	}
	prints(t, s, "preauthkeys expire -i "+key.ID)
	if _, err := s.NewNode(t, "late").TryRegister(key.Key); err == nil {
		t.Error("an expired key admitted a node")
	}
	prints(t, s, "preauthkeys delete --id "+key.ID)
	fails(t, s, "preauthkeys delete --id 999", "999")
	fails(t, s, "preauthkeys create", "user")

	api := strings.TrimSpace(prints(t, s, "apikeys create -e 90d"))
	if err := s.RemoteAPI(api, "GET", "/api/v1/user", nil, nil); err != nil {
		t.Errorf("the printed API key: %v", err)
	}
	prefix := regexp.MustCompile(`hskey-api-([A-Za-z0-9_-]{12})-`).FindStringSubmatch(api)
	if prefix == nil {
		t.Fatalf("API key %q", api)
	}
	if out := prints(t, s, "apikeys list", prefix[1]); strings.Contains(out, api) {
		t.Errorf("the list shows the secret: %s", out)
	}
	prints(t, s, "apikeys expire -p "+prefix[1])
	if err := s.RemoteAPI(api, "GET", "/api/v1/user", nil, nil); err == nil {
		t.Error("an expired API key works")
	}
	prints(t, s, "apikey del --prefix "+prefix[1])
}

func TestNodes(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	authKey := s.ReusableKey("alice")
	s.MustSetPolicy(t, `{"tagOwners": {"tag:server": ["alice@"]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`)
	n := s.NewNode(t, "laptop")
	n.Join(authKey)
	id := n.ID()
	prints(t, s, "nodes list", "laptop", "alice", "100.64.0.1", "fd7a:115c:a1e0::1", "online")
	var list []harness.APINode
	s.MustCLI(t, &list, "node", "ls", "-u", "alice")
	if len(list) != 1 || list[0].GivenName != "laptop" || !list[0].Online || list[0].ID != id {
		t.Errorf("list %+v", list)
	}
	prints(t, s, "nodes rename -i "+id+" desk")
	prints(t, s, "nodes list", "desk")
	prints(t, s, "nodes tag -i "+id+" -t tag:server")
	prints(t, s, "nodes list", "tag:server", "tagged-devices")
	fails(t, s, "nodes tag -i "+id+" -t tag:nobody", "tag:nobody")
	prints(t, s, "nodes expire -i "+id)
	if shown := s.MustNode(id); shown.Expiry == nil {
		t.Error("not expired")
	}
	prints(t, s, "nodes expire -i "+id+" --disable")
	if shown := s.MustNode(id); shown.Expiry != nil {
		t.Error("still expires")
	}
	prints(t, s, "nodes expire -i "+id+" -e 2099-01-02T03:04:05Z")
	prints(t, s, "nodes list", "2099-01-02")
	prints(t, s, "nodes delete -i "+id+" --force")
	fails(t, s, "nodes delete -i "+id+" --force", "no node")
	fails(t, s, "nodes rename -i 77 name", "no node")
}

// TestRoutes covers the current commands and those of Headscale before 0.26.
func TestRoutes(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "router")
	n.Host.RoutableIPs = append(n.Host.RoutableIPs, prefix("10.1.0.0/16"), prefix("10.2.0.0/16"))
	n.Join(s.ReusableKey("alice"))
	id := n.ID()
	prints(t, s, "nodes list-routes", "router", "10.1.0.0/16", "10.2.0.0/16")
	prints(t, s, "nodes approve-routes -i "+id+" -r 10.1.0.0/16")
	if got := s.MustNode(id).ApprovedRoutes; len(got) != 1 || got[0] != "10.1.0.0/16" {
		t.Errorf("approved %v", got)
	}
	out := prints(t, s, "routes list", "10.1.0.0/16", "10.2.0.0/16")
	for line := range strings.Lines(out) {
		if strings.Contains(line, "10.2.0.0/16") {
			words := regexp.MustCompile(`\d+`).FindString(line)
			prints(t, s, "routes enable -r "+words)
		}
	}
	if got := s.MustNode(id).ApprovedRoutes; len(got) != 2 {
		t.Errorf("approved after `routes enable`: %v", got)
	}
	if _, err := s.CLI("nodes", "approve-routes", "-i", id, "-r", ""); err != nil {
		t.Error(err)
	}
	if got := s.MustNode(id).ApprovedRoutes; len(got) != 0 {
		t.Errorf("approved after clearing: %v", got)
	}
	fails(t, s, "nodes approve-routes -i "+id+" -r nonsense", "nonsense")
}

func TestPolicyCommands(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	good := "// kept as written\n{\"acls\": [{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": [\"*:22\"]}]}\n"
	s.WriteFile("good.hujson", good)
	s.WriteFile("bad.hujson", "{\n  \"acls\": [\n    {\"action\": \"accept\", \"src\": [\"tag:nobody\"], \"dst\": [\"*:22\"]}\n  ]\n}\n")
	file := func(name string) string { return filepath.Join(s.Dir, name) }
	prints(t, s, "policy check -f "+file("good.hujson"))
	fails(t, s, "policy check -f "+file("bad.hujson"), "tag:nobody")
	prints(t, s, "policy set -f "+file("good.hujson"))
	if out := prints(t, s, "policy get", "// kept as written"); strings.TrimSpace(out) != strings.TrimSpace(good) {
		t.Errorf("policy get: %q", out)
	}
	_, err := s.CLI("policy", "put", "-f", file("bad.hujson"))
	if err == nil || !strings.Contains(err.Error(), "3") || !strings.Contains(err.Error(), "tag:nobody") {
		t.Errorf("the refusal does not show line 3 and the tag: %v", err)
	}
}

func TestRest(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	prints(t, s, "health")
	prints(t, s, "version", "headsail")
	prints(t, s, "configtest")
	prints(t, s, "completion bash", "headsail")
	if out := prints(t, s, "generate private-key"); !regexp.MustCompile(`^privkey:[0-9a-f]{64}\s*$`).MatchString(out) {
		t.Errorf("generate private-key: %q", out)
	}
	fails(t, s, "users frobnicate", "frobnicate")

	// With JSON output an error is an object too, and the exit status is not zero.
	cmd := exec.Command(mustBinary(t), "--config", filepath.Join(s.Dir, "config.yaml"), "users", "destroy", "-i", "77", "--force", "-o", "json")
	out, err := cmd.CombinedOutput()
	var object struct{ Error string }
	if err == nil || json.Unmarshal(out, &object) != nil || object.Error == "" {
		t.Errorf("error as JSON: %v %s", err, out)
	}
	s.Stop()
	fails(t, s, "users list", "s.sock")
}

// TestOtherName checks that the binary behaves the same under the name `headscale`.
func TestOtherName(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	link := filepath.Join(s.Dir, "headscale")
	if err := os.Symlink(mustBinary(t), link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "users", "list")
	cmd.Env = append(os.Environ(), "HEADSCALE_CONFIG="+filepath.Join(s.Dir, "config.yaml"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "alice") {
		t.Errorf("%v %s", err, out)
	}
}

// TestRemote runs the same commands over the network with an API key.
func TestRemote(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	s.CreateUser("alice")
	var made struct{ APIKey string }
	if err := s.API("POST", "/api/v1/apikey", map[string]any{"expiration": "2099-01-01T00:00:00Z"}, &made); err != nil {
		t.Fatal(err)
	}
	remote := func(key string) (string, error) {
		cmd := exec.Command(mustBinary(t), "users", "list")
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "HEADSCALE_CLI_ADDRESS="+s.URL, "HEADSCALE_CLI_API_KEY="+key)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := remote(made.APIKey); err != nil || !strings.Contains(out, "alice") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := remote("hskey-api-aaaaaaaaaaaa-bbbb"); err == nil || strings.Contains(out, "alice") {
		t.Errorf("with a wrong key: %s", out)
	}
}

func mustBinary(t *testing.T) string {
	t.Helper()
	binary, err := harness.HeadsailBinary()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }
