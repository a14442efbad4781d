package tenant

import (
	"errors"
	"slices"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
)

// What a view is told of a namespace and a token, it passes on, from the disk too.
func TestSettingsSurvive(t *testing.T) {
	limit := func(n uint64) *atollpb.Limit { return &atollpb.Limit{Soft: n, Hard: n + 1} }
	a, b := ns(5, "a"), ns(6, "b")
	a.Limits = &atollpb.Limits{
		Keys: limit(1), Bytes: limit(3), Connections: limit(5), CommandsPerSecond: limit(7), InBytesPerSecond: limit(9),
		OutBytesPerSecond: limit(11), ValueBytes: limit(13),
	}
	a.Labels = []*atollpb.Label{{Key: "env", Value: "test"}, {Key: "team", Value: "x"}}
	a.Suspended, a.ReadOnly = true, true
	b.State, b.PurgeAtMs = atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE, 77
	b.Limits = &atollpb.Limits{Keys: &atollpb.Limit{Soft: 5}}
	token := tok("t5", 5, "five")
	token.ReplacedBy = "t6"
	fs := vfs.NewMem()
	s := open(t, fs)
	install(t, s, change(t, &atollpb.ViewFrame{
		Full: true, Last: true, Revision: 10, Cluster: info(), Namespaces: []*atollpb.Namespace{a, b}, Tokens: []*atollpb.Token{token},
	}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	v := open(t, fs).Current()
	if got := v.Namespace(5).proto(); !proto.Equal(got, a) {
		t.Errorf("got  %v\nwant %v", got, a)
	}
	if got := v.Namespace(6).proto(); !proto.Equal(got, b) {
		t.Errorf("got  %v\nwant %v", got, b)
	}
	if got := v.Token("t5").proto(); !proto.Equal(got, token) {
		t.Errorf("got  %v\nwant %v", got, token)
	}
	if plain := fromNamespace(&atollpb.Namespace{Limits: &atollpb.Limits{Keys: &atollpb.Limit{}}}); plain.Limits != nil || plain.kept != nil {
		t.Errorf("limits that bound nothing take memory: %+v", plain)
	}
}

func TestSuspendedNamespaceLetsNobodyIn(t *testing.T) {
	v := full(t, 10).View()
	g, err := v.Authenticate("a", []byte("five"), 0)
	if err != nil {
		t.Fatal(err)
	}
	a := ns(5, "a")
	a.Suspended = true
	v, err = v.apply(delta(t, 10, 11, &atollpb.ViewFrame{Namespaces: []*atollpb.Namespace{a}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.Renew(g, 0); ok {
		t.Error("a session stays")
	}
	if _, ok := v.TokenGrant("t5", 0); ok {
		t.Error("a forwarded command gets in")
	}
	if _, err := v.Authenticate("", []byte("five"), 0); !errors.Is(err, ErrSuspended) {
		t.Errorf("a right token: %v", err)
	}
	for name, secret := range map[string]string{"a": "nope", "b": "five", "": ""} {
		if _, err := v.Authenticate(name, []byte(secret), 0); !errors.Is(err, ErrWrongPass) {
			t.Errorf("%q %q learns that the namespace is suspended: %v", name, secret, err)
		}
	}
	local, ok := v.OpenGrant()
	if !ok {
		t.Fatal("the default namespace isn't open")
	}
	d := ns(1, "__namespace")
	d.Suspended = true
	v, err = v.apply(delta(t, 11, 12, &atollpb.ViewFrame{Namespaces: []*atollpb.Namespace{d}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.OpenGrant(); ok {
		t.Error("a local peer gets in")
	}
	if _, ok := v.Renew(local, 0); ok {
		t.Error("a local peer stays")
	}
}

func TestNamespaceInGrace(t *testing.T) {
	v := full(t, 10).View()
	g, err := v.Authenticate("a", []byte("five"), 0)
	if err != nil {
		t.Fatal(err)
	}
	a := ns(5, "a")
	a.State, a.PurgeAtMs = atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE, 1000
	step := func(to uint64, list ...*atollpb.Namespace) {
		t.Helper()
		if v, err = v.apply(delta(t, to-1, to, &atollpb.ViewFrame{Namespaces: list})); err != nil {
			t.Fatal(err)
		}
	}
	step(11, a)
	if _, ok := v.Renew(g, 0); ok {
		t.Error("a session stays")
	}
	if _, err := v.Authenticate("a", []byte("five"), 0); !errors.Is(err, ErrWrongPass) {
		t.Errorf("AUTH: %v", err)
	}
	if v.NamespaceByName("a") != nil || v.Len() != 2 {
		t.Error("it has its name")
	}
	if n := v.Namespace(5); n == nil || n.Active() || n.Deleted() {
		t.Errorf("it is %+v", n)
	}
	for n := range v.Tombstones() {
		t.Errorf("%d is a tombstone", n.ID)
	}
	step(12, ns(7, "a")) // the name is free
	if n := v.NamespaceByName("a"); n == nil || n.ID != 7 {
		t.Errorf("a is %+v", n)
	}
	again := ns(5, "a2")
	step(13, again)
	if n := v.NamespaceByName("a2"); n == nil || n.ID != 5 || v.NamespaceByName("a").ID != 7 {
		t.Error("it did not come back under another name")
	}
	if _, ok := v.Renew(g, 0); !ok {
		t.Error("its tokens work no more, once it is back")
	}
	a.State = atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE
	gone := ns(5, "a2")
	gone.State = atollpb.NamespaceState_NAMESPACE_STATE_DELETED
	step(14, a)
	step(15, gone)
	if v.NamespaceByName("a2") != nil || v.NamespaceByName("a").ID != 7 || len(slices.Collect(v.Tombstones())) != 1 {
		t.Error("the end of its grace")
	}
}

func TestRolesOfTheAdminAPI(t *testing.T) {
	for _, role := range []atollpb.Role{atollpb.Role_ROLE_VIEWER, atollpb.Role_ROLE_OPERATOR} {
		own := tok("t1", 1, "one")
		own.Role = role
		v := change(t, &atollpb.ViewFrame{
			Full: true, Last: true, Revision: 10, Cluster: info(), Namespaces: []*atollpb.Namespace{ns(1, "__namespace")}, Tokens: []*atollpb.Token{own},
		}).View()
		if _, err := v.Authenticate("", []byte("one"), 0); !errors.Is(err, ErrWrongPass) {
			t.Errorf("%v: AUTH: %v", role, err)
		}
		if _, ok := v.TokenGrant("t1", 0); ok {
			t.Errorf("%v: a forwarded command gets in", role)
		}
	}
}

func TestRevokedGrantIsNotRenewed(t *testing.T) {
	v := full(t, 10).View()
	g, err := v.Authenticate("a", []byte("five"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = v.apply(delta(t, 10, 11, &atollpb.ViewFrame{RemovedTokens: []string{"t5"}})); err != nil {
		t.Fatal(err)
	}
	if _, ok := v.Renew(g, 0); ok {
		t.Error("the grant outlives its token")
	}
}

func TestTouched(t *testing.T) {
	s := open(t, vfs.NewMem())
	install(t, s, full(t, 10))
	first := s.Current()
	if _, _, ok := s.Touched(nil); ok {
		t.Error("since nothing")
	}
	if now, ids, ok := s.Touched(first); now != first || len(ids) > 0 || !ok {
		t.Errorf("since now: %v, %v", ids, ok)
	}
	check := func(want ...uint64) {
		t.Helper()
		now, ids, ok := s.Touched(first)
		slices.Sort(ids)
		if now != s.Current() || !ok || !slices.Equal(slices.Compact(ids), want) {
			t.Errorf("got %v, %v; want %v", ids, ok, want)
		}
	}
	install(t, s, delta(t, 10, 11, &atollpb.ViewFrame{RemovedTokens: []string{"t5", "unknown"}}))
	check(5)
	install(t, s, nth(t, 2), delta(t, 12, 13, &atollpb.ViewFrame{RemovedTokens: []string{"t102"}, Nodes: []*atollpb.Node{{Id: "n"}}}))
	check(5, 102) // also the token that has come and gone
	moved := tok("t6", 5, "six")
	install(t, s, delta(t, 13, 14, &atollpb.ViewFrame{Tokens: []*atollpb.Token{moved}, RemovedNamespaces: []uint64{6}}))
	check(5, 6, 102)
	install(t, s, delta(t, 14, 15, &atollpb.ViewFrame{Tokens: []*atollpb.Token{tok("brief", 7, "brief")}}), delta(t, 15, 16, &atollpb.ViewFrame{RemovedTokens: []string{"brief"}}))
	check(5, 6, 7, 102)
	install(t, s, delta(t, 16, 17, &atollpb.ViewFrame{Tokens: []*atollpb.Token{tok("t1", 9, "one")}}))
	check(1, 5, 6, 7, 9, 102) // a token's namespace before and after
	install(t, s, full(t, 20))
	if _, _, ok := s.Touched(first); ok {
		t.Error("since before a whole view")
	}
}
