package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Versions of the official client in the mixed meshes. The oldest and the newest are always tested, those between only with [All].
const (
	OldestClient = "1.80.3"
	NewestClient = "1.102.5"
)

// MiddleClients are built and run only with [All], because each takes minutes to build.
var MiddleClients = []string{"1.90.9", "1.98.10"}

// All reports whether the slow tests were requested with HEADSAIL_INTEROP_ALL=1, which `cargo xtask interop --all` sets.
func All() bool { return os.Getenv("HEADSAIL_INTEROP_ALL") == "1" }

// InCI reports whether a missing prerequisite is a failure rather than a reason to skip.
func InCI() bool { return os.Getenv("CI") != "" }

// moduleRoot is the folder of this Go module, derived from the path of this source file.
func moduleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

// repoRoot is the root of the Headsail repository.
func repoRoot() string { return filepath.Dir(filepath.Dir(moduleRoot())) }

// HeadsailBinary returns the path of the server under test: HEADSAIL_BIN if set, or else the newer of target/release and target/debug.
func HeadsailBinary() (string, error) {
	if path := os.Getenv("HEADSAIL_BIN"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("HEADSAIL_BIN: %w", err)
		}
		return filepath.Abs(path)
	}
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		target = filepath.Join(repoRoot(), "target")
	}
	var best string
	var bestInfo os.FileInfo
	for _, profile := range []string{"release", "debug"} {
		path := filepath.Join(target, profile, "headsail")
		if info, err := os.Stat(path); err == nil && (bestInfo == nil || info.ModTime().After(bestInfo.ModTime())) {
			best, bestInfo = path, info
		}
	}
	if best == "" {
		return "", fmt.Errorf("no headsail binary under %s: run `cargo build` first or set HEADSAIL_BIN", target)
	}
	return best, nil
}

// IsDebugBuild reports whether the server under test was built without optimisation. Time limits are then longer, see [Bound].
func IsDebugBuild() bool {
	path, err := HeadsailBinary()
	return err == nil && strings.Contains(path, string(filepath.Separator)+"debug"+string(filepath.Separator))
}

// CacheDir is the folder where built clients are kept between runs: HEADSAIL_INTEROP_CACHE, or else a folder in the user's cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("HEADSAIL_INTEROP_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder; set HEADSAIL_INTEROP_CACHE: %w", err)
	}
	return filepath.Join(base, "headsail-interop"), nil
}

// OfficialClient returns the folder with `tailscale` and `tailscaled` of one release, and builds them on first use.
// A file lock makes concurrent test processes wait for one build.
func OfficialClient(version string) (string, error) {
	return builtOnce(version, []string{"tailscale", "tailscaled"}, func(dir string) error {
		return goInstall(dir, "tailscale.com/cmd/tailscaled@v"+version, "tailscale.com/cmd/tailscale@v"+version)
	})
}

// OfficialTool returns the path of another official program, such as derper, of the newest release.
func OfficialTool(name string) (string, error) {
	dir, err := builtOnce(NewestClient+"-"+name, []string{name}, func(dir string) error {
		return goInstall(dir, "tailscale.com/cmd/"+name+"@v"+NewestClient)
	})
	return filepath.Join(dir, name), err
}

func goInstall(dir string, packages ...string) error {
	cmd := exec.Command("go", append([]string{"install"}, packages...)...)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod -buildvcs=false", "GOTOOLCHAIN=local")
	cmd.Dir = os.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w\n%s", strings.Join(packages, " "), err, out)
	}
	return nil
}

// builtOnce makes sure that the named files exist in the cache folder `name`, and calls build if they don't.
func builtOnce(name string, files []string, build func(dir string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	complete := func() bool {
		for _, file := range files {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				return false
			}
		}
		return true
	}
	if complete() {
		return dir, nil
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete() {
		return dir, nil
	}
	if err := build(dir); err != nil {
		return "", err
	}
	if !complete() {
		return "", errors.New("the build of " + name + " did not produce all files: want " + strings.Join(files, ", "))
	}
	return dir, nil
}

func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}
