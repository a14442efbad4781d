package admin

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func TestSettings(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.client.CreateNamespace(ctx, adminapi.CreateNamespace{
		Name: "acme", Labels: map[string]string{"env": "prod", "Team/x.y": "1"},
		Limits: map[string]adminapi.SetLimit{"keys": {Soft: 800, Hard: 1000}, "bytes": {Hard: 5}},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := made.Namespace
	if n.State != "active" || n.ReadOnly || n.Labels["Team/x.y"] != "1" || !maps.Equal(n.Limits, map[string]adminapi.Limit{"keys": {Soft: 800, Hard: 1000}, "bytes": {Hard: 5}}) {
		t.Errorf("created %+v", n)
	}
	updated, err := w.client.UpdateNamespace(ctx, "acme", adminapi.UpdateNamespace{
		Name: "acme-2", Labels: map[string]*string{"env": nil, "new": new("x")}, Suspended: new(true), ReadOnly: new(true),
		Limits: map[string]*adminapi.SetLimit{"keys": nil, "connections": {Hard: 9}},
	}, adminapi.WithIfMatch(n.ModifiedRevision))
	if err != nil {
		t.Fatal(err)
	}
	u := updated.Namespace
	if u.ID != n.ID || u.Name != "acme-2" || u.State != "suspended" || !u.ReadOnly || !maps.Equal(u.Labels, map[string]string{"Team/x.y": "1", "new": "x"}) ||
		!maps.Equal(u.Limits, map[string]adminapi.Limit{"connections": {Hard: 9}, "bytes": {Hard: 5}}) {
		t.Errorf("updated %+v", u)
	}
	if _, err := w.client.Namespace(ctx, "acme"); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("the old name: %v", err)
	}
	resumed, err := w.client.UpdateNamespace(ctx, "acme-2", adminapi.UpdateNamespace{Suspended: new(false)})
	if err != nil || resumed.Namespace.State != "active" || !resumed.Namespace.ReadOnly {
		t.Errorf("resumed %+v, %v", resumed, err)
	}
}

// A renaming that is tried again finds the old name gone.
func TestRenamingIsRetried(t *testing.T) {
	w := newWorld(t)
	w.must(&raftfsm.CreateNamespace{Name: "a"})
	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	for i := range 2 {
		out, err := w.client.UpdateNamespace(t.Context(), "a", adminapi.UpdateNamespace{Name: "b"}, key)
		if err != nil || out.Namespace.Name != "b" || out.Repeated != (i == 1) {
			t.Errorf("renaming %d: %+v, %v", i, out, err)
		}
	}
	if _, err := w.client.UpdateNamespace(t.Context(), "a", adminapi.UpdateNamespace{Name: "c"}, adminapi.WithIdempotencyKey("another-16-byte-key")); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("renaming what is gone: %v", err)
	}
}

func TestETags(t *testing.T) {
	w := newWorld(t)
	w.serve(time.Hour)
	id := w.must(&raftfsm.CreateNamespace{Name: "acme", Tokens: []raftfsm.NewToken{{ID: "tok", Hash: make([]byte, 32), Role: atollpb.Role_ROLE_READ_ONLY}}}).NamespaceID
	for _, path := range []string{"/v1/namespaces/acme", "/v1/namespaces/acme/tokens/tok"} {
		resp, _ := w.request("GET", path, "")
		tag := resp.Header.Get("ETag")
		if tag != fmt.Sprintf("%q", fmt.Sprint(id)) {
			t.Errorf("%s: ETag %q", path, tag)
		}
		for header, status := range map[string]int{`"1"`: 412, `W/"1"`: 400, "1": 400, `""`: 400, `"0"`: 400, `"1", "2"`: 400, `"`: 400} {
			body := map[string]string{"/v1/namespaces/acme": `{"read_only":true}`}[path]
			if body == "" {
				body = `{"label":"x"}`
			}
			resp, p := w.request("PATCH", path, body, "If-Match: "+header)
			if resp.StatusCode != status || len(p.Errors) != 1 || p.Errors[0].Location != "header.If-Match" || !strings.Contains(p.Detail, "If-Match") {
				t.Errorf("PATCH %s with %s: %d %+v, want %d", path, header, resp.StatusCode, p, status)
			}
		}
	}
	revision := w.fsm.State().Revision()
	for _, r := range []struct{ method, path, body string }{
		{"DELETE", "/v1/namespaces/acme", ""}, {"DELETE", "/v1/namespaces/acme/tokens/tok", ""}, {"POST", "/v1/namespaces/acme/tokens/tok/rotate", "{}"},
	} {
		if resp, p := w.request(r.method, r.path, r.body, `If-Match: "1"`); resp.StatusCode != 412 || p.Code() != adminapi.CodeMismatch {
			t.Errorf("%s %s: %d %+v", r.method, r.path, resp.StatusCode, p)
		}
	}
	if w.fsm.State().Revision() != revision {
		t.Error("a change that didn't match had an effect")
	}
	if resp, p := w.request("PATCH", "/v1/namespaces/acme", `{"read_only":true}`, fmt.Sprintf("If-Match: \"%d\"", id)); resp.StatusCode != 200 || resp.Header.Get("ETag") == fmt.Sprintf("%q", fmt.Sprint(id)) {
		t.Errorf("a change that matches: %d %+v, ETag %s", resp.StatusCode, p, resp.Header.Get("ETag"))
	}
	if resp, p := w.request("DELETE", "/v1/namespaces/acme", "", "If-Match: *"); resp.StatusCode != 200 {
		t.Errorf("a deletion of any revision: %+v", p)
	}
	for _, verb := range []string{"purge", "undelete"} {
		if resp, p := w.request("POST", fmt.Sprintf("/v1/deleted-namespaces/%d/%s", id, verb), map[string]string{"undelete": "{}"}[verb], `If-Match: "1"`); resp.StatusCode != 412 {
			t.Errorf("%s: %d %+v", verb, resp.StatusCode, p)
		}
	}
}

func TestFilteredLists(t *testing.T) {
	w := newWorld(t)
	w.serve(time.Hour)
	for i := range 12 {
		id := w.must(&raftfsm.CreateNamespace{Name: fmt.Sprintf("n%02d", i), Labels: []raftfsm.SetLabel{{Key: "mod", Value: fmt.Sprint(i % 3)}, {Key: "all", Value: "a=b"}}}).NamespaceID
		if i%2 == 0 {
			w.must(&raftfsm.UpdateNamespace{ID: id, Suspended: raftfsm.On})
		}
		if i > 8 {
			w.must(&raftfsm.DeleteNamespace{ID: id, PurgeAtMs: time.Now().Add(time.Hour).UnixMilli()})
		}
	}
	names := func(opts ...adminapi.Option) (names []string) {
		list, err := w.client.Namespaces(t.Context(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range list {
			names = append(names, n.Name)
		}
		return names
	}
	label, state := adminapi.WithLabel, adminapi.WithState
	for i, tt := range []struct {
		got  []string
		want string
	}{
		{names(label("mod=1")), "n01 n04 n07"},
		{names(label("mod=1"), label("all=a=b")), "n01 n04 n07"},
		{names(label("mod=1"), label("mod=2")), ""},
		{names(state("suspended")), "n00 n02 n04 n06 n08"},
		{names(state("active")), "__namespace n01 n03 n05 n07"},
		{names(state("in-grace")), "n09 n10 n11"},
		{names(state("in-grace"), label("mod=1")), "n10"},
		{names(state("suspended"), label("mod=2")), "n02 n08"},
	} {
		if got := strings.Join(tt.got, " "); got != tt.want {
			t.Errorf("%d: %q, want %q", i, got, tt.want)
		}
	}
	var page adminapi.NamespaceList
	w.get("/v1/namespaces?label=mod=0&limit=2", &page)
	if len(page.Namespaces) != 2 || page.Next != "n03" {
		t.Errorf("page %+v", page)
	}
	w.get("/v1/namespaces?label=mod=0&limit=2&after=n03", &page)
	if len(page.Namespaces) != 1 || page.Namespaces[0].Name != "n06" {
		t.Errorf("page %+v", page)
	}
	w.get("/v1/namespaces?state=in-grace&limit=2", &page)
	next := page.Next
	page = adminapi.NamespaceList{}
	w.get("/v1/namespaces?state=in-grace&limit=2&after="+next, &page)
	if len(page.Namespaces) != 1 || page.Namespaces[0].Name != "n11" || page.Next != "" {
		t.Errorf("the last page of those in grace %+v", page)
	}
}

// Every list comes in pages, whatever it is of.
func TestEveryListHasPages(t *testing.T) {
	w := newWorld(t)
	ns := w.must(&raftfsm.CreateNamespace{Name: "acme"}).NamespaceID
	for i := range 5 {
		w.must(&raftfsm.CreateToken{NamespaceID: ns, Token: raftfsm.NewToken{ID: fmt.Sprint("t", i), Hash: []byte(strings.Repeat(fmt.Sprint(i), 32)), Role: atollpb.Role_ROLE_READ_ONLY}})
		id := w.must(&raftfsm.CreateNamespace{Name: "dead"}).NamespaceID
		w.must(&raftfsm.DeleteNamespace{ID: id, PurgeAtMs: map[bool]int64{true: time.Now().Add(time.Hour).UnixMilli()}[i%2 == 0]})
	}
	for path, want := range map[string]int{"/v1/namespaces/acme/tokens": 5, "/v1/deleted-namespaces": 5, "/v1/nodes": 2, "/v1/groups": 1, "/v1/namespaces": 2} {
		seen, after := map[string]bool{}, ""
		for pages := 0; ; pages++ {
			var page map[string]any
			w.get(path+"?limit=1&after="+after, &page)
			for name, list := range page {
				rows, ok := list.([]any)
				if !ok {
					continue
				}
				if len(rows) != 1 {
					t.Fatalf("%s: a page of %d %s", path, len(rows), name)
				}
				seen[fmt.Sprint(rows[0])] = true
			}
			next, more := page["next"].(string)
			if !more || pages > 10 {
				break
			}
			after = next
		}
		if len(seen) != want {
			t.Errorf("%s: %d records in pages, want %d", path, len(seen), want)
		}
	}
	for _, path := range []string{"/v1/deleted-namespaces?after=x", "/v1/groups?after=x", "/v1/namespaces?state=in-grace&after=x"} {
		if resp, p := w.request("GET", path, ""); resp.StatusCode != 422 || !strings.Contains(p.Detail, "query.after") {
			t.Errorf("%s: %d %+v", path, resp.StatusCode, p)
		}
	}
}

func TestGrace(t *testing.T) {
	w := newWorld(t)
	w.serve(time.Hour)
	ctx := t.Context()
	made, err := w.client.CreateNamespace(ctx, adminapi.CreateNamespace{Name: "acme", Labels: map[string]string{"a": "b"}, Token: &adminapi.CreateToken{}})
	if err != nil {
		t.Fatal(err)
	}
	id, before := made.Namespace.ID, time.Now()
	gone, err := w.client.DeleteNamespace(ctx, "acme")
	if err != nil || gone.Namespace == nil || gone.Namespace.State != "in-grace" || gone.Namespace.PurgeAt == nil ||
		gone.Namespace.PurgeAt.Before(before.Add(time.Hour-time.Millisecond)) || gone.Namespace.PurgeAt.After(time.Now().Add(time.Hour)) {
		t.Fatalf("deleted %+v, %v", gone.Namespace, err)
	}
	if shown, err := w.client.DeletedNamespace(ctx, id); err != nil || !reflect.DeepEqual(shown, *gone.Namespace) {
		t.Errorf("shown %+v, %v", shown, err)
	}
	if w.fsm.State().Token(made.Token.ID) != nil {
		t.Error("a token of a deleted namespace is there")
	}
	if _, err := w.client.CreateNamespace(ctx, adminapi.CreateNamespace{Name: "acme"}); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
	if _, err := w.client.UndeleteNamespace(ctx, id, adminapi.Undelete{}); codeOf(err) != adminapi.CodeExists {
		t.Errorf("undeleted to a name that is taken: %v", err)
	}
	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	var first adminapi.CreatedNamespace
	for i := range 2 {
		back, err := w.client.UndeleteNamespace(ctx, id, adminapi.Undelete{Name: "back", Token: &adminapi.CreateToken{}}, key)
		if err != nil || back.Namespace.ID != id || back.Namespace.Name != "back" || back.Namespace.Labels["a"] != "b" || back.Token.Secret == "" || back.Repeated != (i == 1) {
			t.Fatalf("undeleted %+v, %v", back, err)
		}
		if i == 1 && back.Token.Secret != first.Token.Secret {
			t.Error("a retry shows another secret")
		}
		first = back
	}
	if _, err := w.client.DeletedNamespace(ctx, id); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("an active namespace among the deleted: %v", err)
	}
	if _, err := w.client.DeleteNamespace(ctx, "back"); err != nil {
		t.Fatal(err)
	}
	purged, err := w.client.PurgeNamespace(ctx, id)
	if err != nil || purged.Namespace.State != "deleted" || !slices.Equal(purged.Namespace.WaitingFor, []string{"n1", "n2"}) {
		t.Errorf("purged %+v, %v", purged, err)
	}
	if _, err := w.client.UndeleteNamespace(ctx, id, adminapi.Undelete{}); codeOf(err) != adminapi.CodePrecondition {
		t.Errorf("undeleted a tombstone: %v", err)
	}
	if _, err := w.client.PurgeNamespace(ctx, 999); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("purged the unknown: %v", err)
	}
	now, err := w.client.DeleteNamespace(ctx, "acme", adminapi.AtOnce())
	if err != nil || now.Namespace.State != "deleted" {
		t.Errorf("deleted at once %+v, %v", now, err)
	}
}

// A key that deleted with a grace doesn't stand for a deletion at once.
func TestNowIsPartOfTheRequest(t *testing.T) {
	w := newWorld(t)
	w.serve(time.Hour)
	w.must(&raftfsm.CreateNamespace{Name: "acme"})
	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	if _, err := w.client.DeleteNamespace(t.Context(), "acme", key); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.DeleteNamespace(t.Context(), "acme", key, adminapi.AtOnce()); codeOf(err) != adminapi.CodeRequestReused {
		t.Errorf("the same key at once: %v", err)
	}
	if out, err := w.client.DeleteNamespace(t.Context(), "acme", key, adminapi.WaitApplied(time.Second)); err != nil || !out.Repeated {
		t.Errorf("the same key with a wait: %+v, %v", out, err)
	}
}

// What a caller has seen is part of the request: a key stands for one If-Match.
func TestIfMatchIsPartOfTheRequest(t *testing.T) {
	w := newWorld(t)
	seen := w.must(&raftfsm.CreateNamespace{Name: "a"}).Revision
	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	in := adminapi.UpdateNamespace{ReadOnly: new(true)}
	for i := range 2 {
		if out, err := w.client.UpdateNamespace(t.Context(), "a", in, key, adminapi.WithIfMatch(seen)); err != nil || out.Repeated != (i == 1) {
			t.Errorf("change %d: %+v, %v", i, out, err)
		}
	}
	for _, other := range [][]adminapi.Option{{key}, {key, adminapi.WithIfMatch(seen + 1)}} {
		if _, err := w.client.UpdateNamespace(t.Context(), "a", in, other...); codeOf(err) != adminapi.CodeRequestReused {
			t.Errorf("another If-Match: %v", err)
		}
	}
}

func TestUsage(t *testing.T) {
	w := newWorld(t)
	id := w.must(&raftfsm.CreateNamespace{Name: "acme", Tokens: []raftfsm.NewToken{{ID: "tok", Hash: make([]byte, 32), Role: atollpb.Role_ROLE_READ_ONLY}}}).NamespaceID
	report := func(node string, live bool, keys uint64) control.Report {
		return control.Report{Live: live, NodeReport: &atollpb.NodeReport{
			NodeId: node, Incarnation: "i1",
			NamespaceUses: []*atollpb.NamespaceUse{{NamespaceId: id, Keys: keys, Bytes: 2 * keys, Connections: 3, CommandsPerSecond: 4, InBytesPerSecond: 5, OutBytesPerSecond: 6, Limited: 7, OverSoft: []string{"keys"}}},
			TokenUses:     []*atollpb.TokenUse{{TokenId: "tok", LastUsedMs: int64(keys), Connections: 2}},
		}}
	}
	if n, err := w.client.Namespace(t.Context(), "acme"); err != nil || n.Usage != nil {
		t.Errorf("nobody told of a use: %+v, %v", n.Usage, err)
	}
	w.reports = []control.Report{report("n1", true, 10), report("n2", true, 12), report("gone", false, 1000)}
	n, err := w.client.Namespace(t.Context(), "acme")
	want := adminapi.NamespaceUsage{Keys: new(uint64(10)), Bytes: new(uint64(20)), Connections: 6, CommandsPerSecond: 8, InBytesPerSecond: 10, OutBytesPerSecond: 12, Limited: 14, OverSoft: []string{"keys"}}
	if err != nil || n.Usage == nil || !reflect.DeepEqual(*n.Usage, want) || w.usesOf[0] != id {
		t.Errorf("usage %+v, %v", n.Usage, err)
	}
	tokens, err := w.client.Tokens(t.Context(), "acme")
	if err != nil || len(tokens) != 1 || tokens[0].Connections != 4 || tokens[0].LastUsedAt.UnixMilli() != 12 {
		t.Errorf("tokens %+v, %v", tokens, err)
	}
	w.reports[0].Live = false
	if n, err = w.client.Namespace(t.Context(), "acme"); err != nil || n.Usage.Keys != nil || n.Usage.Connections != 3 {
		t.Errorf("usage without the primary %+v, %v", n.Usage, err)
	}
	w.readAfter, w.readErr = nil, nil
	if resp, _ := w.request("GET", "/v1/namespaces/nobody/tokens/tok", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a token of nobody: %d", resp.StatusCode)
	}
}

// The client reads a list of namespaces whose labels are as many, as long and as wide in JSON as they may be.
func TestListOfTheLargestNamespaces(t *testing.T) {
	w := newWorld(t)
	var labels []raftfsm.SetLabel
	for i := range raftfsm.LabelsMax {
		labels = append(labels, raftfsm.SetLabel{Key: fmt.Sprintf("%0*d", raftfsm.LabelKeyBytesMax, i), Value: strings.Repeat(`"`, raftfsm.LabelValueBytesMax)})
	}
	const n = 500
	for i := range n {
		w.must(&raftfsm.CreateNamespace{Name: fmt.Sprintf("ns-%03d", i), Labels: labels})
	}
	list, err := w.client.Namespaces(t.Context())
	if err != nil || len(list) != n+1 { // and the default one
		t.Errorf("%d namespaces, %v", len(list), err)
	}
}
