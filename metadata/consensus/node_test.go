package consensus

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig(t testing.TB, dir string) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := rpc.Split(l)
	t.Cleanup(func() { _ = mux.Close() })
	return Config{
		Dir: dir, NodeID: "meta1", ClusterAddr: l.Addr().String(), HTTPAddr: "127.0.0.1:1", Listener: mux.Raft(),
		AdminTokenFile: filepath.Join(dir, "admin-token"), Log: slog.New(slog.DiscardHandler),
	}
}

// running is an open node whose Run runs.
type running struct {
	*Node
	t      testing.TB
	cancel context.CancelFunc
	ran    chan error
}

func run(t testing.TB, c Config) *running {
	t.Helper()
	n, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Node: n, t: t, cancel: cancel, ran: make(chan error, 1)}
	go func() { r.ran <- n.Run(ctx) }()
	t.Cleanup(func() { r.stop() })
	return r
}

// stop ends the node and returns what Run said. It may be called again.
func (r *running) stop() error {
	if r.Node == nil {
		return nil
	}
	r.cancel()
	err := <-r.ran
	if e := r.Node.Close(); e != nil {
		r.t.Errorf("close: %v", e)
	}
	r.Node = nil
	return err
}

func (r *running) ready() {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for r.Status().Ready() != nil {
		if time.Now().After(deadline) {
			r.t.Fatalf("not ready: %+v", r.Status())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestAdminTokenFileIsReused(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t, dir)
	const secret = "a-secret-of-the-operator"
	if err := os.WriteFile(c.AdminTokenFile, []byte(secret+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, c)
	r.ready()
	cluster := r.State().Cluster()
	if r.State().TokenByHash(HashSecret(cluster.TokenKey, secret)) == nil {
		t.Fatal("the file's token is not the admin's")
	}
	if info, err := os.Stat(c.AdminTokenFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("file mode: %v %v", info.Mode(), err)
	}
	if cluster.MetadataNodes[0].ClusterAddr != c.ClusterAddr {
		t.Fatalf("cluster %v", cluster)
	}
}

func TestBadAdminTokenFileStops(t *testing.T) {
	c := testConfig(t, t.TempDir())
	if err := os.WriteFile(c.AdminTokenFile, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, c)
	<-r.failed
	if err := r.stop(); !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "16 to 512") {
		t.Fatalf("run: %v", err)
	}
}

// A node id that the state machine would refuse is refused before it is written down, and what else it
// refuses at the start ends the node.
func TestBadValuesAreRefusedAtTheStart(t *testing.T) {
	c := testConfig(t, t.TempDir())
	c.NodeID = "a b"
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), `node id "a b" takes letters`) {
		t.Errorf("node id: %v", err)
	}
	if entries, err := os.ReadDir(c.Dir); err != nil || len(entries) != 0 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	c = testConfig(t, c.Dir)
	c.HTTPAddr = strings.Repeat("x", raftfsm.AddrBytesMax+1)
	r := run(t, c)
	<-r.failed
	if err := r.stop(); !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "http_addr is 256 bytes long") {
		t.Errorf("run: %v", err)
	}
}

// The first attempt may have had its effect without an answer in time.
func TestInitialisedAlreadyIsDone(t *testing.T) {
	r := run(t, testConfig(t, t.TempDir()))
	r.ready()
	before := r.State().Revision()
	if err := r.initialise(t.Context()); err != nil || r.stopped() != nil || r.State().Revision() != before {
		t.Errorf("the second attempt: %v, stopped %v, revision %d after %d", err, r.stopped(), r.State().Revision(), before)
	}
}

func TestDeadJoinAddressIsWarnedOf(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := testConfig(t, t.TempDir())
	c.Join = []string{dead}
	lines := make(chan string, 100)
	c.Log = slog.New(slog.NewTextHandler(lineWriter(lines), nil))
	run(t, c)
	for line := range lines { // Raft's own lines come between
		if strings.Contains(line, "join metadata node "+dead) {
			if !strings.Contains(line, "level=WARN") {
				t.Errorf("it is said as %q", line)
			}
			return
		}
	}
}

type lineWriter chan string

func (w lineWriter) Write(line []byte) (int, error) {
	w <- string(line)
	return len(line), nil
}

func TestReasonsAreWarnedOfOnce(t *testing.T) {
	lines := make(lineWriter, 100)
	log := slog.New(slog.NewTextHandler(lines, nil))
	r := reasons{}
	for range 10 {
		r.note(log, errors.New("one"))
		r.note(log, errors.New("two"))
	}
	if len(lines) != 2 {
		t.Errorf("%d lines", len(lines))
	}
	r.note(log, nil) // settled in between
	for range 10 {
		r.note(log, errors.New("one"))
	}
	if len(lines) != 3 {
		t.Errorf("%d lines after a while without one", len(lines))
	}
	for i := range 2 * reasonsMax {
		r.note(log, errors.New(strings.Repeat("x", i)))
	}
	if len(r) > reasonsMax {
		t.Errorf("%d reasons are kept", len(r))
	}
}

func TestForeignDirectoriesAreRefused(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t, dir)
	r := run(t, c)
	r.ready()
	cluster := r.ClusterID()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	other := testConfig(t, dir)
	other.NodeID = "meta2"
	if _, err := Open(other); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `"meta1"`) {
		t.Fatalf("another node's directory: %v", err)
	}
	// The identity of another cluster over this one's state.
	file := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, err := parseIdentity(data)
	if err != nil || id.ClusterID != cluster {
		t.Fatalf("identity %+v, %v", id, err)
	}
	id.ClusterID = newID()
	if err := id.save(dir); err != nil {
		t.Fatal(err)
	}
	r = run(t, testConfig(t, dir))
	if err := <-r.ran; !errors.Is(err, ErrForeign) {
		t.Fatalf("another cluster's identity: %v", err)
	}
	r.ran <- nil
	if err := os.WriteFile(file, []byte(`{"format": 9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testConfig(t, dir)); err == nil || !strings.Contains(err.Error(), "format 9") {
		t.Fatalf("another format: %v", err)
	}
}

// A restarted voter with other addresses is found under them.
func TestAddressesFollowTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	r := run(t, testConfig(t, dir))
	r.ready()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	c := testConfig(t, dir)
	c.HTTPAddr = "127.0.0.1:2"
	r = run(t, c)
	r.ready()
	deadline := time.Now().Add(20 * time.Second)
	for {
		m := r.State().Cluster().MetadataNodes[0]
		servers := r.servers()
		if m.ClusterAddr == c.ClusterAddr && m.HttpAddr == c.HTTPAddr && string(servers[0].Address) == c.ClusterAddr {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("record %v, configuration %v", m, servers)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A committed command of a newer version stops the node, which neither applies nor snapshots any more.
func TestUnknownCommandStopsTheNode(t *testing.T) {
	dir := t.TempDir()
	r := run(t, testConfig(t, dir))
	r.ready()
	before := r.State().Revision()
	if err := r.raft.Apply([]byte{200, 1, 1, 0, 0, 0, 0}, time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	<-r.failed
	if _, err := r.Read(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("read: %v", err)
	}
	if _, err := r.Propose(t.Context(), &raftfsm.CreateNamespace{Name: "a"}, ProposeOptions{}); !errors.Is(err, ErrStopped) {
		t.Errorf("propose: %v", err)
	}
	if _, err := r.adaptor.Snapshot(); !errors.Is(err, raftfsm.ErrUnknownCommand) {
		t.Errorf("snapshot: %v", err)
	}
	if err := r.Status().Ready(); !errors.Is(err, ErrStopped) || r.State().Revision() != before {
		t.Errorf("status %v, revision %d", err, r.State().Revision())
	}
	if err := r.stop(); !errors.Is(err, raftfsm.ErrUnknownCommand) {
		t.Errorf("run: %v", err)
	}
	// It stops again at the next start: the command is in the log.
	r = run(t, testConfig(t, dir))
	<-r.failed
	if err := r.stop(); !errors.Is(err, raftfsm.ErrUnknownCommand) {
		t.Errorf("run after restart: %v", err)
	}
}

func TestProposalsAreCheckedBeforeTheLog(t *testing.T) {
	r := run(t, testConfig(t, t.TempDir()))
	r.ready()
	for what, request := range map[string]*atollpb.ProposeRequest{
		"another cluster": {ClusterId: "other"},
		"unknown command": {ClusterId: r.ClusterID(), Command: []byte{200, 1, 1, 0, 0, 0, 0}},
	} {
		if _, err := r.HandlePropose(t.Context(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := r.ProposeInTerm(t.Context(), r.raft.CurrentTerm()+1, &raftfsm.CreateNamespace{Name: "a"}); !errors.Is(err, ErrNoLeader) {
		t.Errorf("proposal of another term: %v", err)
	}
	if r.State().NamespaceByName("a") != nil {
		t.Error("the proposal of another term had an effect")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Propose(done, &raftfsm.CreateNamespace{Name: "b"}, ProposeOptions{}); !errors.Is(err, ErrIndeterminate) {
		t.Errorf("proposal whose caller has gone: %v", err)
	}
}

// The leader commits a change, and is slow to apply it. A follower may have shown it already, so a read
// that begins now has to wait for it.
func TestReadWaitsForWhatIsCommitted(t *testing.T) {
	r := run(t, testConfig(t, t.TempDir()))
	r.ready()
	r.adaptor.mu.Lock() // the state machine stops behind the first command
	first := r.raft.LastIndex() + 1
	var last raft.ApplyFuture
	for _, name := range []string{"a", "b"} {
		data, err := r.fsm.Encode(raftfsm.Proposal{Command: &raftfsm.CreateNamespace{Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		last = r.raft.Apply(data, time.Second)
	}
	deadline := time.Now().Add(20 * time.Second)
	for r.raft.CommitIndex() <= first && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	index, err := r.readIndexHere()
	r.adaptor.mu.Unlock()
	if e := last.Error(); e != nil || err != nil || index != last.Index() {
		t.Fatalf("read at %d, the last committed command is at %d: %v", index, last.Index(), errors.Join(err, e))
	}
}

// hangingLog is a log whose appends hang or fail.
type hangingLog struct {
	raft.LogStore
	hang chan struct{}
	err  error
}

func (l *hangingLog) StoreLogs([]*raft.Log) error {
	if l.hang != nil {
		<-l.hang
	}
	return l.err
}

func TestDiskTrouble(t *testing.T) {
	fatal := make(chan error, 1)
	hang := make(chan struct{})
	stalled := make(chan error, 1)
	l := &watchedLog{&hangingLog{hang: hang}, time.Millisecond, func(err error) { fatal <- err }}
	go func() { stalled <- l.StoreLog(&raft.Log{}) }()
	if err := <-fatal; !strings.Contains(err.Error(), "disk hangs") {
		t.Errorf("stall: %v", err)
	}
	close(hang)
	<-stalled
	l = &watchedLog{&hangingLog{err: syscall.EIO}, time.Hour, func(err error) { fatal <- err }}
	if err := l.StoreLog(&raft.Log{}); !errors.Is(err, syscall.EIO) || !errors.Is(<-fatal, syscall.EIO) {
		t.Errorf("failed append: %v", err)
	}
	l = &watchedLog{&hangingLog{err: syscall.ENOSPC}, time.Hour, func(err error) { fatal <- err }}
	if err := l.StoreLog(&raft.Log{}); !errors.Is(err, syscall.ENOSPC) || len(fatal) != 0 {
		t.Errorf("full disk: %v", err)
	}
}

func TestStreamRefusesOtherClusters(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := rpc.Split(l)
	defer mux.Close()
	server := newStream(mux.Raft(), "advertised:1", func() string { return "ours" })
	server.history = func() string { return "h2" }
	defer server.Close()
	echoed := make(chan error, 3)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_, err = io.Copy(conn, conn)
			echoed <- errors.Join(err, conn.Close())
		}
	}()
	for _, tt := range []struct {
		id      string
		history string
		refused bool
	}{{"ours", "h2", false}, {"ours", "", false}, {"ours", "h1", true}, {"other", "h2", true}, {"other", "", true}, {"", "", true}} {
		client := newStream(mux.Raft(), "", func() string { return tt.id })
		client.history = func() string { return tt.history }
		conn, err := client.Dial(raft.ServerAddress(l.Addr().String()), 5*time.Second)
		if tt.refused {
			if !errors.Is(err, ErrForeign) || !errors.Is(<-echoed, ErrForeign) {
				t.Errorf("cluster %q, history %q: %v", tt.id, tt.history, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2)
		if _, err := conn.Write([]byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hi" {
			t.Errorf("echo %q: %v", b, err)
		}
		if err := errors.Join(conn.Close(), <-echoed); err != nil {
			t.Error(err)
		}
	}
	conn, err := rpc.DialRaft(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 2)
	if _, err := conn.Write([]byte{rpc.WireVersion + 1, 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != handshakeOther || answer[1] != rpc.WireVersion {
		t.Errorf("another version is answered with %v, %v", answer, err)
	}
	if err := <-echoed; err == nil || !strings.Contains(err.Error(), "speaks version 2, this program speaks version 1") {
		t.Errorf("another version: %v", err)
	}
	if server.Addr().String() != "advertised:1" {
		t.Errorf("address %v", server.Addr())
	}
}

func TestSecrets(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a == b || len(a) != len(secretPrefix)+secretChars || !strings.HasPrefix(a, secretPrefix) {
		t.Errorf("secrets %q %q", a, b)
	}
}

// A node may become the leader between two looks: then there is no record yet that a voter's addresses could go into.
func TestVoterBeforeTheFirstRecord(t *testing.T) {
	n, err := Open(testConfig(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	for end := time.Now().Add(20 * time.Second); n.raft.State() != raft.Leader; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no leader")
		}
	}
	if err := n.settle(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "not initialised") {
		t.Errorf("got %v", err)
	}
}

// Every read ends when the node does: Raft leaves questions without an answer that wait while it shuts down.
func TestReadsEndWithTheNode(t *testing.T) {
	for range 5 {
		r := run(t, testConfig(t, t.TempDir()))
		r.ready()
		n := r.Node
		var readers sync.WaitGroup
		for range 64 {
			readers.Go(func() {
				for {
					if _, err := n.readIndexHere(); err != nil {
						return
					}
				}
			})
		}
		r.stop()
		ended := make(chan struct{})
		go func() { readers.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("some reads don't end")
		}
	}
}
