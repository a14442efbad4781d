package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// schema is what the OpenAPI description says of one value.
type schema struct {
	Ref        string             `json:"$ref"`
	Type       any                `json:"type"`
	About      string             `json:"description"`
	Properties map[string]*schema `json:"properties"`
	Additional json.RawMessage    `json:"additionalProperties"`
	Required   []string           `json:"required"`
	Enum       []string           `json:"enum"`
	Minimum    *float64           `json:"minimum"`
	Maximum    *float64           `json:"maximum"`
}

func (s *schema) is(kind string) bool {
	if list, ok := s.Type.([]any); ok {
		return slices.Contains(list, any(kind))
	}
	return s.Type == kind
}

type described struct {
	Paths map[string]map[string]struct {
		Parameters []struct {
			Name, In    string
			Description string
			Schema      *schema
		}
		RequestBody *struct {
			Content map[string]struct{ Schema *schema }
		} `json:"requestBody"`
	}
	Components struct{ Schemas map[string]*schema }
}

func (d *described) resolve(s *schema) *schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return d.Components.Schemas[name]
	}
	return s
}

// wrong returns values that a schema doesn't allow: of other types, beyond its bounds, and not of its words.
func (s *schema) wrong() []string {
	bad := []string{"[[]]"}
	for kind, value := range map[string]string{"string": `"x"`, "number": "1.5", "boolean": "true", "object": "{}"} {
		if !s.is(kind) {
			bad = append(bad, value)
		}
	}
	if s.Minimum != nil {
		bad = append(bad, fmt.Sprint(*s.Minimum-1))
	}
	if s.is("integer") {
		bad = append(bad, "99999999999999999999999999", "-1")
	}
	if len(s.Enum) > 0 {
		bad = append(bad, `"none-of-them"`)
	}
	return bad
}

// bodies returns request bodies with one field wrong, by the field that a refusal must name.
func (d *described) bodies(s *schema, at string) map[string][]string {
	s = d.resolve(s)
	base := map[string]json.RawMessage{}
	for _, name := range s.Required {
		base[name] = json.RawMessage(`"valid"`)
	}
	with := func(name, value string) string {
		body := maps.Clone(base)
		body[name] = json.RawMessage(value)
		data, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		return string(data)
	}
	out := map[string][]string{at + ".bogus": {with("bogus", "1")}}
	for _, name := range s.Required {
		body := maps.Clone(base)
		delete(body, name)
		data, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		out[name] = append(out[name], string(data))
	}
	for name, p := range s.Properties {
		field := d.resolve(p)
		for _, value := range field.wrong() {
			out[at+"."+name] = append(out[at+"."+name], with(name, value))
		}
		var value schema
		switch {
		case len(field.Properties) > 0:
			for inner, bodies := range d.bodies(field, at+"."+name) {
				for _, body := range bodies {
					out[inner] = append(out[inner], with(name, body))
				}
			}
		case json.Unmarshal(field.Additional, &value) == nil:
			inner := d.resolve(&value)
			for _, bad := range inner.wrong() {
				out[at+"."+name+".keys"] = append(out[at+"."+name+".keys"], with(name, `{"keys":`+bad+`}`))
			}
			if len(inner.Properties) == 0 {
				continue
			}
			for deep, bodies := range d.bodies(inner, at+"."+name+".keys") {
				for _, body := range bodies {
					out[deep] = append(out[deep], with(name, `{"keys":`+body+`}`))
				}
			}
		}
	}
	return out
}

// TestEveryFieldIsChecked sends each field of each request with each wrong type, beyond its bounds, and an unknown
// one beside it. The description says what there is, so a new operation is tested as it is added.
func TestEveryFieldIsChecked(t *testing.T) {
	w := newWorld(t)
	w.serve(time.Hour)
	w.must(&raftfsm.CreateNamespace{Name: "acme", Tokens: []raftfsm.NewToken{{ID: "tok", Hash: make([]byte, 32), Role: atollpb.Role_ROLE_READ_ONLY}}})
	var d described
	w.get("/openapi.json", &d)
	revision, bodies, params := w.fsm.State().Revision(), 0, 0
	check := func(method, path, body, names string) {
		t.Helper()
		resp, p := w.request(method, path, body)
		if resp.StatusCode != 422 && resp.StatusCode != 400 || !strings.Contains(p.Detail, names) || p.Code() == "" || len(p.Errors) == 0 {
			t.Errorf("%s %s %s: %d %+v, want a refusal that names %s", method, path, body, resp.StatusCode, p, names)
		}
	}
	for template, methods := range d.Paths {
		if !secured(template) {
			continue
		}
		id := "1"
		switch {
		case strings.Contains(template, "tokens"):
			id = "tok"
		case strings.Contains(template, "nodes"):
			id = "n1"
		}
		path := strings.NewReplacer("{name}", "acme", "{id}", id).Replace(template)
		for method, op := range methods {
			method = strings.ToUpper(method)
			for _, p := range op.Parameters {
				if p.Description == "" && p.In != "path" {
					t.Errorf("%s %s: %s %s is not described", method, template, p.In, p.Name)
				}
				for _, bad := range p.Schema.wrong() {
					if p.In != "query" || p.Schema.is("string") && len(p.Schema.Enum) == 0 || strings.HasPrefix(bad, "[") || p.Schema.is("array") {
						continue
					}
					params++
					check(method, path+"?"+url.Values{p.Name: {strings.Trim(bad, `"`)}}.Encode(), "", "query."+p.Name)
				}
			}
			check(method, path+"?bogus=1", map[bool]string{true: "{}"}[op.RequestBody != nil], "query.bogus")
			if op.RequestBody == nil {
				continue
			}
			for name, property := range d.resolve(op.RequestBody.Content["application/json"].Schema).Properties {
				if property.About == "" && property.Ref == "" {
					t.Errorf("%s %s: body.%s is not described", method, template, name)
				}
			}
			for field, list := range d.bodies(op.RequestBody.Content["application/json"].Schema, "body") {
				for _, body := range list {
					bodies++
					check(method, path, body, field)
				}
			}
		}
	}
	if w.fsm.State().Revision() != revision {
		t.Error("a request that was refused changed the state")
	}
	if bodies < 150 || params < 30 {
		t.Errorf("%d bodies and %d parameters were tried", bodies, params)
	}
}

// TestBoundsOfFields looks at the bounds that only the state machine knows.
func TestBoundsOfFields(t *testing.T) {
	w := newWorld(t)
	w.must(&raftfsm.CreateNamespace{Name: "acme", Tokens: []raftfsm.NewToken{{ID: "tok", Hash: make([]byte, 32), Role: atollpb.Role_ROLE_READ_ONLY}}})
	w.must(&raftfsm.CreateNamespace{Name: "taken"})
	many := map[string]string{}
	for i := range raftfsm.LabelsMax + 1 {
		many[fmt.Sprint("k", i)] = "v"
	}
	labels, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	const ns, tok = "/v1/namespaces/acme", "/v1/namespaces/acme/tokens/tok"
	revision := w.fsm.State().Revision()
	for _, tt := range []struct{ request, body, location, detail string }{
		{"PATCH " + ns, `{"labels":{"":"x"}}`, "body.labels", "1 to 63 bytes"},
		{"PATCH " + ns, `{"labels":{"` + strings.Repeat("k", 64) + `":"x"}}`, "body.labels", "1 to 63 bytes"},
		{"PATCH " + ns, `{"labels":{"a b":"x"}}`, "body.labels", "letters, digits"},
		{"PATCH " + ns, `{"labels":{"ä":null}}`, "body.labels", "letters, digits"},
		{"PATCH " + ns, `{"labels":{"k":"` + strings.Repeat("v", 256) + `"}}`, "body.labels.k", "at most 255 bytes"},
		{"PATCH " + ns, `{"labels":{"k":"\u0007"}}`, "body.labels.k", "control"},
		{"PATCH " + ns, `{"labels":` + string(labels) + `}`, "body.labels", "at most 64"},
		{"PATCH " + ns, `{"labels":{"k":"a","k":"b"}}`, "body.labels.k", "twice"},
		{"PATCH " + ns, `{"limits":{"keyz":{"hard":1}}}`, "body.limits.keyz", "value_bytes"},
		{"PATCH " + ns, `{"limits":{"keys":{"hard":1,"soft":2}}}`, "body.limits.keys", "above its hard"},
		{"PATCH " + ns, `{"limits":{"keys":{"hard":9223372036854775808}}}`, "body.limits.keys", "9223372036854775807"},
		{"PATCH " + ns, `{"limits":{"Keys":{"hard":1}}}`, "body.limits.Keys", "lower-case"},
		{"PATCH " + ns, `{"name":"a b"}`, "body.name", "space"},
		{"PATCH " + ns, `{"name":"taken"}`, "body.name", "exists"},
		{"PATCH " + ns, `{"durability":"paper"}`, "body.durability", "async or local"},
		{"POST /v1/namespaces", `{"name":"x","labels":{"k":"\u0007"}}`, "body.labels.k", "control"},
		{"POST /v1/namespaces", `{"name":"x","limits":{"bytes":{"hard":1,"soft":2}}}`, "body.limits.bytes", "above its hard"},
		{"POST " + tok + "/rotate", `{"overlap_ms":7776000001}`, "body.overlap_ms", "7.776e+09"},
		{"POST " + tok + "/rotate", `{"overlap_ms":-1}`, "body.overlap_ms", ">= 0"},
		{"POST " + tok + "/rotate", `{"secret":"short"}`, "body.secret", "16 to 512 bytes"},
		{"POST " + tok + "/rotate", `{"label":"` + strings.Repeat("l", 129) + `"}`, "body.label", "at most 128 bytes"},
		{"PATCH " + tok, `{"label":"` + strings.Repeat("l", 129) + `"}`, "body.label", "at most 128 bytes"},
		{"PATCH " + tok, `{"expires_at":"tomorrow"}`, "body.expires_at", "RFC 3339"},
		{"GET /v1/namespaces?label=novalue", "", "query.label", "key=value"},
		{"GET /v1/namespaces?label=" + strings.Repeat("k", 64) + "=v", "", "query.label", "1 to 63 bytes"},
		{"GET /v1/namespaces?label=a=" + strings.Repeat("v", 256), "", "query.label", "at most 255 bytes"},
		{"GET /v1/deleted-namespaces/0", "", "path.id", ">= 1"},
		{"GET /v1/deleted-namespaces/x", "", "path.id", "invalid"},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		resp, p := w.request(method, path, tt.body)
		if resp.StatusCode < 400 || len(p.Errors) != 1 || p.Errors[0].Location != tt.location || !strings.Contains(p.Detail, tt.detail) {
			t.Errorf("%s %.80s: %d %+v, want %s and %q", tt.request, tt.body, resp.StatusCode, p, tt.location, tt.detail)
		}
	}
	if resp, p := w.request("PATCH", "/v1/namespaces/__namespace", `{"suspended":true}`); resp.StatusCode != 403 || !strings.Contains(p.Detail, "default namespace") {
		t.Errorf("suspend the default namespace: %+v", p)
	}
	if w.fsm.State().Revision() != revision {
		t.Error("a request that was refused changed the state")
	}
}
