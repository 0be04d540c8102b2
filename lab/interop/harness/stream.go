package harness

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"tailscale.com/tailcfg"
)

// maxFrame is the maximum length of a map response frame, the same as in the official tools.
const maxFrame = 4 << 20

// Frame is one message of a map stream.
type Frame struct {
	At   time.Time // when its last byte had arrived
	Wire []byte    // the payload as it was sent
	JSON []byte    // the payload, decompressed
	Resp *tailcfg.MapResponse
}

// Stream is an open map request. A goroutine reads frames into Frames and applies them to a [View].
type Stream struct {
	n      *Node
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every frame
	frames  []*Frame
	view    *View
	err     error
}

// Stream opens the node's map stream, which must be accepted, and waits for the first full map.
func (n *Node) Stream() *Stream {
	n.t.Helper()
	st, err := n.OpenStream(n.MapRequest())
	if err != nil {
		n.t.Fatalf("%s: %v", n.Host.Hostname, err)
	}
	st.Wait(n.t, "first map", requestLimit, func(v *View) bool { return v.Self != nil })
	return st
}

// OpenStream sends any map request and reads the response in the background. A status other than 200 is an *APIError.
func (n *Node) OpenStream(req *tailcfg.MapRequest) (*Stream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	res, err := n.Do(ctx, "POST", "/machine/map", req)
	if err != nil {
		cancel()
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer cancel()
		defer res.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return nil, &APIError{Status: res.StatusCode, Body: string(data)}
	}
	st := &Stream{n: n, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{}), view: NewView()}
	n.t.Cleanup(st.Close)
	go st.read(res.Body, req.Compress == "zstd")
	return st, nil
}

func (st *Stream) read(body io.ReadCloser, compressed bool) {
	defer close(st.done)
	defer body.Close()
	err := ReadFrames(body, compressed, func(f *Frame) error {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.frames = append(st.frames, f)
		err := st.view.Apply(f.Resp)
		close(st.changed)
		st.changed = make(chan struct{})
		return err
	})
	st.mu.Lock()
	defer st.mu.Unlock()
	st.err = err
	close(st.changed)
	st.changed = make(chan struct{})
}

// ReadFrames reads length-prefixed frames until the body ends and passes each to take.
func ReadFrames(body io.Reader, compressed bool, take func(*Frame) error) error {
	return ReadPayloads(body, compressed, func(wire, plain []byte) error {
		f := &Frame{At: time.Now(), Wire: wire, JSON: plain, Resp: new(tailcfg.MapResponse)}
		if err := json.Unmarshal(plain, f.Resp); err != nil {
			return fmt.Errorf("frame: %w in %.200s", err, plain)
		}
		return take(f)
	})
}

// ReadPayloads reads length-prefixed frames without decoding them.
func ReadPayloads(body io.Reader, compressed bool, take func(wire, plain []byte) error) error {
	for {
		var head [4]byte
		if _, err := io.ReadFull(body, head[:]); err != nil {
			return err
		}
		size := binary.LittleEndian.Uint32(head[:])
		if size == 0 || size > maxFrame {
			return fmt.Errorf("frame of %d bytes", size)
		}
		wire := make([]byte, size)
		if _, err := io.ReadFull(body, wire); err != nil {
			return err
		}
		plain := wire
		if compressed {
			var err error
			if plain, err = unpacker().DecodeAll(wire, nil); err != nil {
				return fmt.Errorf("frame: %w", err)
			}
		}
		if err := take(wire, plain); err != nil {
			return err
		}
	}
}

// unpacker is shared by all streams; it may decode whole frames concurrently.
var unpacker = sync.OnceValue(func() *zstd.Decoder {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		panic(err)
	}
	return decoder
})

// Close ends the stream from this side and waits until it has ended.
func (st *Stream) Close() {
	st.cancel()
	<-st.done
}

// Done is closed when the stream has ended, from either side.
func (st *Stream) Done() <-chan struct{} { return st.done }

// Ended reports whether the stream has ended, and why.
func (st *Stream) Ended() (error, bool) {
	select {
	case <-st.done:
		st.mu.Lock()
		defer st.mu.Unlock()
		return st.err, true
	default:
		return nil, false
	}
}

// Frames returns what has arrived so far.
func (st *Stream) Frames() []*Frame {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.frames[:len(st.frames):len(st.frames)]
}

// View returns a copy of the current view.
func (st *Stream) View() *View {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.view.Clone()
}

// Look lets a test read the current view without copying it.
func (st *Stream) Look(read func(*View)) {
	st.mu.Lock()
	defer st.mu.Unlock()
	read(st.view)
}

// Wait blocks until ok accepts the view. It fails the test after limit, or if the stream ends first.
func (st *Stream) Wait(t testing.TB, what string, limit time.Duration, ok func(*View) bool) {
	t.Helper()
	if err := st.Await(limit, ok); err != nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		t.Fatalf("%s waits for %s: %v; %d frames, view %s", st.n.Host.Hostname, what, err, len(st.frames), st.view.Brief())
	}
}

// Await is [Stream.Wait], but returns an error.
func (st *Stream) Await(limit time.Duration, ok func(*View) bool) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		st.mu.Lock()
		good, changed, ended := ok(st.view), st.changed, st.err
		st.mu.Unlock()
		switch {
		case good:
			return nil
		case ended != nil:
			return fmt.Errorf("stream ended: %w", ended)
		}
		select {
		case <-changed:
		case <-timeout.C:
			return fmt.Errorf("not within %v", limit)
		}
	}
}

// WaitFrame blocks until a frame has arrived that ok accepts, and returns the first such frame.
func (st *Stream) WaitFrame(t testing.TB, what string, limit time.Duration, ok func(*Frame) bool) *Frame {
	t.Helper()
	f, err := st.AwaitFrame(0, limit, ok)
	if err != nil {
		t.Fatalf("%s waits for %s: %v", st.n.Host.Hostname, what, err)
	}
	return f
}

// AwaitFrame is [Stream.WaitFrame] for frames from the given index on, but returns an error.
func (st *Stream) AwaitFrame(from int, limit time.Duration, ok func(*Frame) bool) (*Frame, error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	next := from
	for {
		st.mu.Lock()
		frames, changed, ended := st.frames, st.changed, st.err
		st.mu.Unlock()
		for ; next < len(frames); next++ {
			if ok(frames[next]) {
				return frames[next], nil
			}
		}
		if ended != nil {
			return nil, fmt.Errorf("stream ended: %w", ended)
		}
		select {
		case <-changed:
		case <-timeout.C:
			return nil, fmt.Errorf("not within %v (%d frames)", limit, len(frames))
		}
	}
}

// Fresh fetches the full map that the server has for this node right now.
// It is a one-shot map, which does not disturb open streams.
func (n *Node) Fresh() *View {
	n.t.Helper()
	req := n.MapRequest()
	req.Stream, req.KeepAlive, req.ReadOnly = false, false, true
	st, err := n.OpenStream(req)
	if err != nil {
		n.t.Fatalf("%s: one-shot map: %v", n.Host.Hostname, err)
	}
	select {
	case <-st.Done():
	case <-time.After(requestLimit):
		n.t.Fatalf("%s: the one-shot map response does not end", n.Host.Hostname)
	}
	if err, _ := st.Ended(); !errors.Is(err, io.EOF) {
		n.t.Fatalf("%s: one-shot map: %v", n.Host.Hostname, err)
	}
	v := st.View()
	if v.Self == nil {
		n.t.Fatalf("%s: one-shot map without a self node (%d frames)", n.Host.Hostname, len(st.Frames()))
	}
	return v
}

// SameAsFresh waits until the view that the stream's frames have built equals a fresh full map.
func (st *Stream) SameAsFresh(t testing.TB, when string) {
	t.Helper()
	Eventually(t, 5*time.Second, when+": the view of "+st.n.Host.Hostname+" equals a fresh map", func() error {
		fresh := st.n.Fresh()
		return st.View().Differs(fresh)
	})
}
