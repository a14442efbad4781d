package tenant

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

func info() *atollpb.ClusterInfo {
	return &atollpb.ClusterInfo{ClusterId: "c", MetadataHistoryId: "h", TokenKey: testKey, DefaultNamespaceId: 1}
}

// hashOf is the token hash of a secret under testKey.
func hashOf(secret string) []byte { return (&View{cluster: info()}).HashSecret([]byte(secret)) }

func ns(id uint64, name string) *atollpb.Namespace {
	return &atollpb.Namespace{Id: id, Name: name, State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Durability: atollpb.Durability_DURABILITY_ASYNC}
}

func tok(id string, namespace uint64, secret string) *atollpb.Token {
	return &atollpb.Token{Id: id, NamespaceId: namespace, Hash: hashOf(secret), Role: atollpb.Role_ROLE_READ_WRITE}
}

// change assembles frames that make one change.
func change(t tester, frames ...*atollpb.ViewFrame) *Change {
	t.Helper()
	var a Assembler
	for i, f := range frames {
		c, err := a.Add(f)
		if err != nil {
			t.Fatal(err)
		}
		if (c != nil) != (i == len(frames)-1) {
			t.Fatalf("frame %d of %d completes a change: %v", i, len(frames), c != nil)
		}
		if c != nil {
			return c
		}
	}
	return nil
}

func full(t testing.TB, revision uint64) *Change {
	return change(t, &atollpb.ViewFrame{
		Full: true, Last: true, Revision: revision, Cluster: info(),
		Namespaces: []*atollpb.Namespace{ns(1, "__namespace"), ns(5, "a"), ns(6, "b")},
		Tokens:     []*atollpb.Token{tok("t1", 1, "one"), tok("t5", 5, "five"), tok("t6", 6, "six")},
	})
}

func delta(t testing.TB, from, to uint64, f *atollpb.ViewFrame) *Change {
	f.FromRevision, f.Revision, f.Last = from, to, true
	return change(t, f)
}

func TestAuthenticate(t *testing.T) {
	v := full(t, 10).View()
	for _, tt := range []struct {
		name, secret string
		namespace    uint64
	}{
		{"", "five", 5}, {"default", "five", 5}, {"a", "five", 5}, {"b", "six", 6}, {"", "one", 1},
		{"b", "five", 0}, {"a", "six", 0}, {"", "nope", 0}, {"", "", 0}, {"nope", "five", 0},
	} {
		g, err := v.Authenticate(tt.name, []byte(tt.secret), 0)
		if g.NamespaceID != tt.namespace || (err == nil) != (tt.namespace != 0) || (err != nil && !errors.Is(err, ErrWrongPass)) {
			t.Errorf("%q %q: namespace %d, %v", tt.name, tt.secret, g.NamespaceID, err)
		}
	}
	expiring := tok("t7", 5, "seven")
	expiring.ExpiresMs = 1000
	admin := tok("t8", 5, "eight")
	admin.Role = atollpb.Role_ROLE_ADMIN
	v, err := v.apply(delta(t, 10, 11, &atollpb.ViewFrame{Tokens: []*atollpb.Token{expiring, admin}}))
	if err != nil {
		t.Fatal(err)
	}
	g, err := v.Authenticate("", []byte("seven"), 999)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.Renew(g, 1000); ok {
		t.Error("an expired token is renewed")
	}
	if _, err := v.Authenticate("", []byte("seven"), 1000); err == nil {
		t.Error("an expired token authenticates")
	}
	if g, _ := v.Authenticate("", []byte("eight"), 0); g.Admin() {
		t.Error("a tenant's token is an admin's")
	}
}

// dump is a view's content in a form that compares.
func dump(v *View) string {
	f := &atollpb.ViewFrame{Revision: v.Revision(), Cluster: v.Cluster()}
	tombstones := slices.Collect(v.Tombstones())
	for n := range v.AllNamespaces() {
		if n.Deleted() {
			if len(tombstones) == 0 || tombstones[0] != n {
				panic("a tombstone is missing among Tombstones")
			}
			tombstones = tombstones[1:]
		}
		f.Namespaces = append(f.Namespaces, n.proto())
	}
	if len(tombstones) > 0 {
		panic("Tombstones yields what is none")
	}
	for t := range v.tokens.all() {
		f.Tokens = append(f.Tokens, t.proto())
	}
	for n := range v.Nodes() {
		f.Nodes = append(f.Nodes, n)
	}
	slices.SortFunc(f.Nodes, func(a, b *atollpb.Node) int { return cmp.Compare(a.Id, b.Id) })
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestChangesMakeTheView compares views made by deltas, small and large, with a model, and checks that
// every look-up agrees and earlier views stay as they were.
func TestChangesMakeTheView(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type model struct {
			ns     map[uint64]*atollpb.Namespace
			tokens map[string]*atollpb.Token
		}
		m := model{map[uint64]*atollpb.Namespace{}, map[string]*atollpb.Token{}}
		v := new(View).with(&Change{Full: true, Revision: 1, cluster: info()})
		nextID, nextToken := uint64(10), 0
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			f := &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true}
			for range rapid.IntRange(0, 80).Draw(t, "changes") {
				ids := slices.Sorted(func(yield func(uint64) bool) {
					for id := range m.ns {
						if !yield(id) {
							return
						}
					}
				})
				kind := rapid.IntRange(0, 5).Draw(t, "kind")
				if kind <= 2 || len(ids) == 0 {
					n := ns(nextID, fmt.Sprintf("n%d", nextID))
					tk := tok(fmt.Sprintf("t%d", nextToken), nextID, fmt.Sprintf("s%d", nextToken))
					nextID, nextToken = nextID+1, nextToken+1
					m.ns[n.Id], m.tokens[tk.Id] = n, tk
					f.Namespaces, f.Tokens = append(f.Namespaces, n), append(f.Tokens, tk)
					continue
				}
				id := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "victim")]
				if slices.ContainsFunc(f.Namespaces, func(n *atollpb.Namespace) bool { return n.Id == id }) {
					continue // one change of a namespace in each delta
				}
				gone := m.ns[id]
				for _, tk := range m.tokens {
					if tk.NamespaceId == id && !slices.ContainsFunc(f.Tokens, func(o *atollpb.Token) bool { return o.Id == tk.Id }) {
						f.RemovedTokens = append(f.RemovedTokens, tk.Id)
						delete(m.tokens, tk.Id)
					}
				}
				if kind == 3 { // deleted, and its name taken again
					dead := proto.CloneOf(gone)
					dead.State = atollpb.NamespaceState_NAMESPACE_STATE_DELETED
					m.ns[id] = dead
					f.Namespaces = append(f.Namespaces, dead)
					if gone.State == atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
						again := ns(nextID, gone.Name)
						nextID++
						m.ns[again.Id] = again
						f.Namespaces = append(f.Namespaces, again)
					}
					continue
				}
				delete(m.ns, id)
				f.RemovedNamespaces = append(f.RemovedNamespaces, id)
			}
			before, was := v, dump(v)
			next, err := v.apply(change(t, f))
			if err != nil {
				t.Fatal(err)
			}
			if v = next; dump(before) != was {
				t.Fatalf("step %d changed the view before it", step)
			}
			if v.byID.len != len(m.ns) || v.tokens.len != len(m.tokens) || v.byHash.len != len(m.tokens) || v.byOwner.len != len(m.tokens) {
				t.Fatalf("%d namespaces, want %d; %d tokens, %d by hash, want %d", v.byID.len, len(m.ns), v.tokens.len, v.byHash.len, len(m.tokens))
			}
			living := 0
			for id, n := range m.ns {
				if got := v.Namespace(id); got == nil || !proto.Equal(got.proto(), n) {
					t.Fatalf("namespace %d is %v, want %v", id, got, n)
				}
				if n.State == atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
					living++
					if got := v.NamespaceByName(n.Name); got == nil || got.ID != id {
						t.Fatalf("%s is %v, want %d", n.Name, got, id)
					}
				}
			}
			if v.Len() != living {
				t.Fatalf("%d names, want %d", v.Len(), living)
			}
			for id, tk := range m.tokens {
				if got := v.Token(id); got == nil || got.NamespaceID != tk.NamespaceId {
					t.Fatalf("token %s is %v", id, got)
				}
			}
			var a Assembler
			for fr := range v.Full().Frames() {
				if c, err := a.Add(fr); err != nil {
					t.Fatal(err)
				} else if c != nil && dump(c.View()) != dump(v) {
					t.Fatal("the frames of the view make another view")
				}
			}
		}
	})
}

// tester is a *testing.T, a *testing.B or a *rapid.T.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func TestFramesAreBounded(t *testing.T) {
	v := large(t, 20_000)
	n := 0
	for f := range v.Full().Frames() {
		if s := proto.Size(f); s > 1<<20 {
			t.Errorf("a frame has %d bytes", s)
		}
		n++
	}
	if n < 2 {
		t.Errorf("%d frames", n)
	}
}

func TestAssemblerRefuses(t *testing.T) {
	for name, frames := range map[string][]*atollpb.ViewFrame{
		"mixed":      {{Full: true, Revision: 5, Cluster: info()}, {Revision: 6, Last: true}},
		"restarted":  {{FromRevision: 1, Revision: 5, RemovedTokens: []string{"x"}}, {Full: true, Revision: 5, Last: true}},
		"from moves": {{FromRevision: 1, Revision: 5}, {FromRevision: 2, Revision: 5, Last: true}},
	} {
		var a Assembler
		var err error
		for _, f := range frames {
			_, err = a.Add(f)
		}
		if !errors.Is(err, ErrFrames) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// large is a view of n namespaces with a token each.
func large(t testing.TB, n int) *View {
	t.Helper()
	var a Assembler
	const each = 1000
	if c, err := a.Add(&atollpb.ViewFrame{Full: true, Revision: 1 << 40, Cluster: info()}); c != nil || err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; i += each {
		f := &atollpb.ViewFrame{Revision: 1 << 40, Last: i+each >= n}
		for j := i; j < min(i+each, n); j++ {
			id := uint64(1000 + 3*j)
			space := ns(id, fmt.Sprintf("namespace-%08d", j))
			space.CreatedMs, space.ModifiedMs, space.ModifiedRevision = 1700000000000, 1700000000000, id
			token := &atollpb.Token{Id: fmt.Sprintf("tok_%016x", rand.Uint64()), NamespaceId: id, Hash: make([]byte, 32), Role: atollpb.Role_ROLE_READ_WRITE, Label: "api"}
			for k := range token.Hash {
				token.Hash[k] = byte(rand.Uint32())
			}
			f.Namespaces, f.Tokens = append(f.Namespaces, space), append(f.Tokens, token)
		}
		c, err := a.Add(f)
		if err != nil {
			t.Fatal(err)
		}
		if c != nil {
			return c.View()
		}
	}
	return nil
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestMemoryOfManyNamespaces(t *testing.T) {
	const n, limit = 100_000, 100 << 20
	before := heap()
	v := large(t, n)
	used := heap() - before
	t.Logf("%d namespaces with a token each: %.1f MiB", n, float64(used)/(1<<20))
	if used > limit {
		t.Errorf("%d bytes, want at most %d", used, limit)
	}
	runtime.KeepAlive(v)
}

func BenchmarkAuthenticate(b *testing.B) {
	v := large(b, 100_000)
	v, err := v.apply(delta(b, 1, 1<<41, &atollpb.ViewFrame{Tokens: []*atollpb.Token{tok("t", 1000, "secret")}}))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate("", []byte("secret"), 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDelta(b *testing.B) {
	v := large(b, 100_000)
	c := delta(b, 1, 1<<41, &atollpb.ViewFrame{Namespaces: []*atollpb.Namespace{ns(1<<40, "x")}, Tokens: []*atollpb.Token{tok("t", 1<<40, "secret")}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.apply(c); err != nil {
			b.Fatal(err)
		}
	}
}
