package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// User is a user as API v1 shows it.
type User struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	Email       string `json:"email"`
	Provider    string `json:"provider"`
}

// PreAuthKey is a pre-auth key as API v1 shows it. Key is complete only in the response that creates it.
type PreAuthKey struct {
	ID         string    `json:"id"`
	Key        string    `json:"key"`
	User       *User     `json:"user"`
	Reusable   bool      `json:"reusable"`
	Ephemeral  bool      `json:"ephemeral"`
	Used       bool      `json:"used"`
	Expiration time.Time `json:"expiration"`
	ACLTags    []string  `json:"aclTags"`
}

// APINode is a node as API v1 shows it.
type APINode struct {
	ID              string       `json:"id"`
	MachineKey      string       `json:"machineKey"`
	NodeKey         string       `json:"nodeKey"`
	DiscoKey        string       `json:"discoKey"`
	IPAddresses     []netip.Addr `json:"ipAddresses"`
	Name            string       `json:"name"`
	GivenName       string       `json:"givenName"`
	User            *User        `json:"user"`
	LastSeen        *time.Time   `json:"lastSeen"`
	Expiry          *time.Time   `json:"expiry"`
	CreatedAt       time.Time    `json:"createdAt"`
	RegisterMethod  string       `json:"registerMethod"`
	Online          bool         `json:"online"`
	ApprovedRoutes  []string     `json:"approvedRoutes"`
	AvailableRoutes []string     `json:"availableRoutes"`
	SubnetRoutes    []string     `json:"subnetRoutes"`
	Tags            []string     `json:"tags"`
}

// APIError is a response of the admin API with a status other than 2xx.
type APIError struct {
	Status int
	Body   string
}

func (e *APIError) Error() string {
	return fmt.Sprintf("http %d: %s", e.Status, strings.TrimSpace(e.Body))
}

// IsClientError reports whether err is an API response with a 4xx status.
func IsClientError(err error) bool {
	e, ok := err.(*APIError)
	return ok && e.Status >= 400 && e.Status < 500
}

// API calls the admin API over the unix socket, which needs no key. A nil body is not sent, and a nil answer is not read.
func (s *Server) API(method, path string, body, answer any) error {
	client := &http.Client{
		Timeout: 20 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", s.Socket)
			},
		},
	}
	return callAPI(client, "http://localhost", "", method, path, body, answer)
}

// RemoteAPI calls the admin API over the network with a bearer key.
func (s *Server) RemoteAPI(bearer, method, path string, body, answer any) error {
	return callAPI(&http.Client{Timeout: 20 * time.Second}, s.URL, bearer, method, path, body, answer)
}

func callAPI(client *http.Client, base, bearer, method, path string, body, answer any) error {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, base+path, in)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &APIError{Status: res.StatusCode, Body: string(data)}
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s %s: %w in %s", method, path, err, data)
	}
	return nil
}

func (s *Server) mustAPI(method, path string, body, answer any) {
	s.t.Helper()
	if err := s.API(method, path, body, answer); err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// CreateUser creates a user and returns it.
func (s *Server) CreateUser(name string) User {
	s.t.Helper()
	var out struct{ User User }
	s.mustAPI("POST", "/api/v1/user", map[string]any{"name": name}, &out)
	return out.User
}

// Key describes a pre-auth key to create; see [Server.CreateKey].
type Key struct {
	User      User          // the owner; none for a key that has only tags
	Reusable  bool          // may register more than one node
	Ephemeral bool          // its nodes are deleted when they stay offline
	Tags      []string      // its nodes are tagged
	Life      time.Duration // 0 means one hour
}

// CreateKey creates a pre-auth key and returns it with its secret.
func (s *Server) CreateKey(k Key) PreAuthKey {
	s.t.Helper()
	if k.Life == 0 {
		k.Life = time.Hour
	}
	body := map[string]any{
		"reusable":   k.Reusable,
		"ephemeral":  k.Ephemeral,
		"expiration": time.Now().Add(k.Life).UTC().Format(time.RFC3339Nano),
		"aclTags":    append([]string{}, k.Tags...),
	}
	if k.User.ID != "" {
		body["user"] = k.User.ID
	}
	var out struct{ PreAuthKey PreAuthKey }
	s.mustAPI("POST", "/api/v1/preauthkey", body, &out)
	return out.PreAuthKey
}

// ReusableKey creates a user and a reusable pre-auth key of that user, which is how most tests start.
func (s *Server) ReusableKey(user string) string {
	s.t.Helper()
	return s.CreateKey(Key{User: s.CreateUser(user), Reusable: true}).Key
}

// Nodes lists all nodes.
func (s *Server) Nodes() []APINode {
	s.t.Helper()
	var out struct{ Nodes []APINode }
	s.mustAPI("GET", "/api/v1/node", nil, &out)
	return out.Nodes
}

// Node returns one node by its id. A missing node is an *APIError with status 404.
func (s *Server) Node(id string) (APINode, error) {
	var out struct{ Node APINode }
	err := s.API("GET", "/api/v1/node/"+id, nil, &out)
	return out.Node, err
}

// MustNode returns one node by its id.
func (s *Server) MustNode(id string) APINode {
	s.t.Helper()
	n, err := s.Node(id)
	if err != nil {
		s.t.Fatalf("node %s: %v", id, err)
	}
	return n
}

// NodeByKey finds a node by its node key; ok is false if there is none.
func (s *Server) NodeByKey(nodeKey string) (n APINode, ok bool) {
	s.t.Helper()
	for _, n := range s.Nodes() {
		if n.NodeKey == nodeKey {
			return n, true
		}
	}
	return APINode{}, false
}

// DeleteNode deletes a node.
func (s *Server) DeleteNode(id string) {
	s.t.Helper()
	s.mustAPI("DELETE", "/api/v1/node/"+id, nil, nil)
}

// ExpireNode sets the expiry of a node's key; the zero time means now.
func (s *Server) ExpireNode(id string, at time.Time) {
	s.t.Helper()
	body := map[string]any{}
	if !at.IsZero() {
		body["expiry"] = at.UTC().Format(time.RFC3339Nano)
	}
	s.mustAPI("POST", "/api/v1/node/"+id+"/expire", body, nil)
}

// NeverExpire removes the expiry of a node.
func (s *Server) NeverExpire(id string) {
	s.t.Helper()
	s.mustAPI("POST", "/api/v1/node/"+id+"/expire", map[string]any{"disableExpiry": true}, nil)
}

// RenameNode renames a node. A refusal is an error.
func (s *Server) RenameNode(id, name string) error {
	return s.API("POST", "/api/v1/node/"+id+"/rename/"+url.PathEscape(name), nil, nil)
}

// TagNode sets the tags of a node. A refusal is an error.
func (s *Server) TagNode(id string, tags ...string) error {
	return s.API("POST", "/api/v1/node/"+id+"/tags", map[string]any{"tags": append([]string{}, tags...)}, nil)
}

// ApproveRoutes sets the approved routes of a node; an empty list revokes all.
func (s *Server) ApproveRoutes(id string, routes ...string) {
	s.t.Helper()
	s.mustAPI("POST", "/api/v1/node/"+id+"/approve_routes", map[string]any{"routes": append([]string{}, routes...)}, nil)
}

// RegisterAuth completes an interactive login for a user, as `headscale auth register` does.
func (s *Server) RegisterAuth(authID, user string) error {
	return s.API("POST", "/api/v1/auth/register", map[string]any{"user": user, "authId": authID}, nil)
}

// SetPolicy sets the policy. A refusal is an error.
func (s *Server) SetPolicy(policy string) error {
	return s.API("PUT", "/api/v1/policy", map[string]any{"policy": policy}, nil)
}

// MustSetPolicy is [Server.SetPolicy] for policies that must be accepted.
func (s *Server) MustSetPolicy(t testing.TB, policy string) {
	t.Helper()
	if err := s.SetPolicy(policy); err != nil {
		t.Fatalf("set policy: %v", err)
	}
}

// Policy returns the text of the active policy.
func (s *Server) Policy() string {
	s.t.Helper()
	var out struct{ Policy string }
	s.mustAPI("GET", "/api/v1/policy", nil, &out)
	return out.Policy
}

// CLI runs a headsail command against this server and returns its standard output.
func (s *Server) CLI(args ...string) (string, error) {
	cmd := exec.Command(s.binary, append([]string{"--config", filepath.Join(s.Dir, "config.yaml")}, args...)...)
	cmd.Dir = s.Dir
	cmd.Env = append(cleanEnv(), "NO_COLOR=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("headsail %s: %w: %s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// MustCLI is [Server.CLI] for commands that must succeed. With an answer, it requests JSON output and decodes it.
func (s *Server) MustCLI(t testing.TB, answer any, args ...string) string {
	t.Helper()
	if answer != nil {
		args = append(args, "-o", "json")
	}
	out, err := s.CLI(args...)
	if err != nil {
		t.Fatal(err)
	}
	if answer != nil {
		if err := json.Unmarshal([]byte(out), answer); err != nil {
			t.Fatalf("headsail %s: %v in %s", strings.Join(args, " "), err, out)
		}
	}
	return out
}

// Users lists all users.
func (s *Server) Users() []User {
	s.t.Helper()
	var out struct{ Users []User }
	s.mustAPI("GET", "/api/v1/user", nil, &out)
	return out.Users
}
