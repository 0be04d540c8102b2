package control

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

func TestOptionalEndpoints(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "n")
	n.Join(s.ReusableKey("alice"))
	nodeKey := n.Key.Public()
	calls := []struct {
		method, path string
		body         any
	}{
		{"POST", "/machine/set-dns", tailcfg.SetDNSRequest{Version: n.Version, NodeKey: nodeKey, Name: "_acme-challenge.n." + harness.BaseDomain, Type: "TXT", Value: "x"}},
		{"POST", "/machine/id-token", tailcfg.TokenRequest{CapVersion: n.Version, NodeKey: nodeKey, Audience: "x"}},
		{"POST", "/machine/feature/query", tailcfg.QueryFeatureRequest{NodeKey: nodeKey, Feature: "serve"}},
		{"POST", "/machine/update-health", tailcfg.HealthChangeRequest{NodeKey: nodeKey, Subsys: "x"}},
		{"POST", "/machine/audit-log", tailcfg.AuditLogRequest{Version: n.Version, NodeKey: nodeKey, Action: "x"}},
		{"PATCH", "/machine/set-device-attr", tailcfg.SetDeviceAttributesRequest{Version: n.Version, NodeKey: nodeKey}},
		{"GET", "/machine/whoami", nil},
		{"GET", "/machine/tka/bootstrap", tailcfg.TKABootstrapRequest{Version: n.Version, NodeKey: nodeKey}},
		{"POST", "/machine/webclient/init/1/to/2", nil},
		{"GET", "/machine/no-such-thing", nil},
		{"GET", "/", nil},
	}
	for _, c := range calls {
		begin := time.Now()
		status, answer, err := n.Call(c.method, c.path, c.body)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if status != http.StatusOK && status/100 != 4 && status != http.StatusNotImplemented {
			t.Errorf("%s: status %d: %s", c.path, status, answer)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s: answered after %v", c.path, took)
		}
	}
	for _, name := range []string{"_acme-challenge.other." + harness.BaseDomain, "_acme-challenge.example.com", "n." + harness.BaseDomain} {
		status, _, err := n.Call("POST", "/machine/set-dns", tailcfg.SetDNSRequest{Version: n.Version, NodeKey: nodeKey, Name: name, Type: "TXT", Value: "x"})
		if err != nil || status == http.StatusOK {
			t.Errorf("set-dns for %s: %d %v, want a refusal", name, status, err)
		}
	}
}

func TestPingResponse(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	n := s.NewNode(t, "n")
	n.Join(s.ReusableKey("alice"))
	for _, c := range []struct {
		method, path string
		want         func(int) bool
	}{
		{"HEAD", "/machine/ping-response?id=unknown", func(s int) bool { return s == 404 }},
		{"POST", "/machine/ping-response?id=unknown", func(s int) bool { return s == 405 || s == 404 }},
		{"HEAD", "/machine/ping-response", func(s int) bool { return s/100 == 4 }},
	} {
		status, _, err := n.Call(c.method, c.path, nil)
		if err != nil || !c.want(status) {
			t.Errorf("%s %s: %d %v", c.method, c.path, status, err)
		}
	}
}

func TestAPIRequiresAValidKey(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	var made struct{ APIKey string }
	s.MustCLI(t, nil, "health")
	if err := s.API("POST", "/api/v1/apikey", map[string]any{"expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, &made); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoteAPI(made.APIKey, "GET", "/api/v1/node", nil, nil); err != nil {
		t.Errorf("with a good key: %v", err)
	}
	var short struct{ APIKey string }
	expires := time.Now().Add(400 * time.Millisecond)
	if err := s.API("POST", "/api/v1/apikey", map[string]any{"expiration": expires.UTC().Format(time.RFC3339Nano)}, &short); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(expires) + 50*time.Millisecond)
	changed := []byte(made.APIKey)
	changed[len(changed)-1] ^= 1
	for _, path := range []string{"/api/v1/node", "/api/v1/user", "/api/v1/policy", "/api/v1/apikey", "/api/v1/preauthkey", "/api/v1/node/1"} {
		for name, bearer := range map[string]string{"no": "", "a wrong": "hskey-api-aaaaaaaaaaaa-b", "a malformed": "x", "an expired": short.APIKey, "a changed": string(changed)} {
			err := s.RemoteAPI(bearer, "GET", path, nil, nil)
			if e, ok := err.(*harness.APIError); !ok || e.Status != http.StatusUnauthorized {
				t.Errorf("%s with %s key: %v, want 401", path, name, err)
			}
		}
	}
	if err := s.RemoteAPI("", "DELETE", "/api/v1/node/1", nil, nil); fmt.Sprint(err) == "<nil>" {
		t.Error("a user was deleted without a key")
	}
}
