package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// The configuration that all servers of these tests share; see [Start].
const (
	BaseDomain = "tail.test"
	DERPRegion = 999
	PrefixV4   = "100.64.0.0/10"
	PrefixV6   = "fd7a:115c:a1e0::/48"
	// EphemeralTimeout is how long an ephemeral node may be offline before it is deleted.
	EphemeralTimeout = 4 * time.Second
)

// startLimit is how long a server may take from its start until /health succeeds.
const startLimit = 20 * time.Second

// Server is a headsail process with its own folder, ports and database. It may be killed and started again with the same folder.
type Server struct {
	Dir      string // all files of this server: config.yaml, database, keys, socket, log
	URL      string // http://127.0.0.1:PORT, the login server of the clients
	TLSAddr  string // 127.0.0.1:PORT of the TLS listener, which is in the DERP map
	STUNAddr string // 127.0.0.1:PORT, UDP
	Metrics  string // 127.0.0.1:PORT of the metrics listener
	Socket   string // unix socket of the admin API

	t      testing.TB
	binary string
	config map[string]any
	args   []string
	env    []string
	limits []string
	held   net.Listener

	mu       sync.Mutex
	cmd      *exec.Cmd
	exited   chan struct{}
	log      *os.File
	noiseKey key.MachinePublic
}

// Option changes how a server is configured or started.
type Option func(*options)

type options struct {
	config map[string]any
	env    []string
	limits []string
	files  map[string]string
	held   net.Listener
}

// Set overrides one configuration key, written with dots: Set("node.expiry", "1h"). A nil value removes the key.
func Set(key string, value any) Option {
	return func(o *options) { o.config[key] = value }
}

// Env adds one NAME=VALUE to the environment of the server.
func Env(pair string) Option { return func(o *options) { o.env = append(o.env, pair) } }

// UnderLimit starts the server under a `prlimit` option such as "--fsize=1000000".
func UnderLimit(arg string) Option { return func(o *options) { o.limits = append(o.limits, arg) } }

// Held makes the server use a listening socket of the test for plain HTTP, as with socket activation by a service manager.
func Held(l net.Listener) Option { return func(o *options) { o.held = l } }

// File writes a file into the server's folder before it starts.
func File(name, content string) Option { return func(o *options) { o.files[name] = content } }

// Start configures and starts a server and waits until it answers. It is stopped when the test ends.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := Prepare(t, opts...)
	if err := s.Run(); err != nil {
		t.Fatalf("start: %v", err)
	}
	return s
}

// Prepare creates the folder and configuration of a server without starting it.
func Prepare(t testing.TB, opts ...Option) *Server {
	t.Helper()
	binary, err := HeadsailBinary()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, whose long names would exceed the limit of 104 bytes for the path of a unix socket.
	dir, err := os.MkdirTemp("", "hs")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Dir:      dir,
		URL:      "http://127.0.0.1:" + FreePort(t),
		TLSAddr:  "127.0.0.1:" + FreePort(t),
		STUNAddr: "127.0.0.1:" + FreePort(t),
		Metrics:  "127.0.0.1:" + FreePort(t),
		Socket:   filepath.Join(dir, "s.sock"),
		t:        t,
		binary:   binary,
	}
	o := options{config: s.defaults(), files: map[string]string{}}
	for _, opt := range opts {
		opt(&o)
	}
	s.args = []string{"serve", "--config", filepath.Join(s.Dir, "config.yaml")}
	s.env, s.limits, s.held = o.env, o.limits, o.held
	for name, content := range o.files {
		s.WriteFile(name, content)
	}
	if o.held != nil {
		s.URL = "http://" + o.held.Addr().String()
		o.config["server_url"], o.config["listen_addr"] = s.URL, s.Host()
	}
	s.config = o.config
	s.WriteFile("config.yaml", yamlOf(s.config))
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("server log (%s):\n%s", s.Dir, s.LogTail(60))
		}
		if os.Getenv("HEADSAIL_INTEROP_KEEP") == "" {
			os.RemoveAll(dir)
		}
	})
	return s
}

func (s *Server) defaults() map[string]any {
	return map[string]any{
		"server_url":                        s.URL,
		"listen_addr":                       strings.TrimPrefix(s.URL, "http://"),
		"tls_listen_addr":                   s.TLSAddr,
		"metrics_listen_addr":               s.Metrics,
		"noise.private_key_path":            "noise_private.key",
		"prefixes.v4":                       PrefixV4,
		"prefixes.v6":                       PrefixV6,
		"prefixes.allocation":               "sequential",
		"derp.server.enabled":               true,
		"derp.server.region_id":             DERPRegion,
		"derp.server.region_code":           "headsail",
		"derp.server.region_name":           "Headsail",
		"derp.server.verify_clients":        false,
		"derp.server.stun_listen_addr":      s.STUNAddr,
		"derp.server.private_key_path":      "derp_private.key",
		"derp.server.ipv4":                  "127.0.0.1",
		"database.type":                     "sqlite",
		"database.sqlite.path":              "db.sqlite",
		"dns.magic_dns":                     true,
		"dns.base_domain":                   BaseDomain,
		"dns.override_local_dns":            false,
		"node.ephemeral.inactivity_timeout": EphemeralTimeout.String(),
		"policy.mode":                       "database",
		"unix_socket":                       s.Socket,
		"unix_socket_permission":            "0770",
		"log.level":                         "info",
		"disable_check_updates":             true,
		"derp.auto_update_enabled":          false,
		"logtail.enabled":                   false,
	}
}

// Reconfigure changes one key of the configuration, which takes effect at the next start.
func (s *Server) Reconfigure(key string, value any) {
	s.config[key] = value
	s.WriteFile("config.yaml", yamlOf(s.config))
}

// Run starts the process and waits until /health answers.
func (s *Server) Run() error {
	if err := s.Spawn(); err != nil {
		return err
	}
	return s.WaitHealthy(startLimit)
}

// Spawn starts the process and returns at once.
func (s *Server) Spawn() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(s.Dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := append([]string{s.binary}, s.args...)
	if len(s.limits) > 0 {
		args = append(append([]string{"prlimit"}, s.limits...), args...)
	}
	var extra []*os.File
	if s.held != nil {
		file, err := s.held.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		defer file.Close()
		extra = append(extra, file)
		args = append([]string{"sh", "-c", `export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"`, "sh"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.Dir
	cmd.ExtraFiles = extra
	cmd.Env = append(cleanEnv(), s.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startLocked(cmd); err != nil {
		log.Close()
		return err
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		log.Close()
		close(exited)
	}()
	s.cmd, s.exited, s.log = cmd, exited, log
	return nil
}

// WaitHealthy waits until /health answers 200 and the unix socket accepts connections. It fails at once if the process has ended.
func (s *Server) WaitHealthy(limit time.Duration) error {
	exited := s.Exited()
	ended := false
	err := Poll(limit, func() error {
		select {
		case <-exited:
			ended = true
			return nil
		default:
		}
		res, err := http.Get(s.URL + "/health")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET /health: %s", res.Status)
		}
		conn, err := net.Dial("unix", s.Socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if ended {
		return fmt.Errorf("the server ended:\n%s", s.LogTail(30))
	}
	return err
}

// Exited is closed when the current process has ended.
func (s *Server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}

// Kill kills the process with SIGKILL, like a power failure, and waits until it has ended.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop shuts the process down gracefully (SIGTERM) and returns how long that took.
func (s *Server) Stop() time.Duration {
	begin := time.Now()
	s.signal(syscall.SIGTERM)
	return time.Since(begin)
}

// Hangup sends SIGHUP, which makes the server reload.
func (s *Server) Hangup() { s.process().Signal(syscall.SIGHUP) }

func (s *Server) process() *os.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	cmd.Process.Signal(sig)
	select {
	case <-exited:
	case <-time.After(15 * time.Second):
		s.t.Errorf("the server did not end within 15s of %v", sig)
		cmd.Process.Kill()
		<-exited
	}
}

// Restart starts the server again with the same folder, after [Server.Kill] or [Server.Stop].
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.Run(); err != nil {
		t.Fatalf("restart: %v", err)
	}
}

// LogTail returns the last lines of the server's output.
func (s *Server) LogTail(lines int) string {
	all := strings.Split(strings.TrimRight(s.Log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Log returns the server's output since its first start.
func (s *Server) Log() string {
	data, _ := os.ReadFile(filepath.Join(s.Dir, "server.log"))
	return string(data)
}

// WriteFile writes a file into the server's folder.
func (s *Server) WriteFile(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Host is the host:port of the plain HTTP listener.
func (s *Server) Host() string { return strings.TrimPrefix(s.URL, "http://") }

// Memory is the resident size of the process in bytes.
func (s *Server) Memory() int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.process().Pid))
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// CPU is the CPU time of the process.
func (s *Server) CPU() time.Duration {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process().Pid))
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux architecture
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

// NoiseKey is the public key from GET /key, which is requested only once.
func (s *Server) NoiseKey(ctx context.Context) (key.MachinePublic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.noiseKey.IsZero() {
		return s.noiseKey, nil
	}
	k, err := fetchNoiseKey(ctx, s.URL)
	s.noiseKey = k
	return k, err
}

func fetchNoiseKey(ctx context.Context, url string) (key.MachinePublic, error) {
	var body struct{ PublicKey key.MachinePublic }
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/key?v="+currentVersion, nil)
	if err != nil {
		return body.PublicKey, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return body.PublicKey, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return body.PublicKey, fmt.Errorf("GET /key: %s", res.Status)
	}
	err = json.NewDecoder(res.Body).Decode(&body)
	return body.PublicKey, err
}

// startLocked starts a child that gets a signal when this process dies. Linux ties that to the starting thread, which must not end.
func startLocked(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	starter.once.Do(starter.run)
	starter.jobs <- func() { done <- cmd.Start() }
	return <-done
}

var starter = &spawner{jobs: make(chan func())}

type spawner struct {
	once sync.Once
	jobs chan func()
}

func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		return strings.HasPrefix(pair, "HEADSCALE_") || strings.HasPrefix(pair, "HEADSAIL_") || strings.HasPrefix(pair, "TS_")
	})
}

// yamlOf writes dotted keys as nested YAML; leaves are written as JSON, which YAML includes.
func yamlOf(dotted map[string]any) string {
	var keys []string
	for k, v := range dotted {
		if v != nil {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var out bytes.Buffer
	var open []string
	for _, k := range keys {
		path := strings.Split(k, ".")
		common := 0
		for common < len(open) && common < len(path)-1 && open[common] == path[common] {
			common++
		}
		for i := common; i < len(path)-1; i++ {
			fmt.Fprintf(&out, "%s%s:\n", strings.Repeat("  ", i), path[i])
		}
		open = path[:len(path)-1]
		leaf, err := json.Marshal(dotted[k])
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&out, "%s%s: %s\n", strings.Repeat("  ", len(path)-1), path[len(path)-1], leaf)
	}
	return out.String()
}

// ExitCode is the exit status of a process that has ended.
func (s *Server) ExitCode() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.ProcessState.ExitCode()
}
