package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/audit"
)

func (a *api) registerAudit(h huma.API) {
	register(h, http.MethodGet, "/v1/audit", "list-audit", "List who changed what, the oldest first; the last 10,000 changes are kept", a.listAudit)
}

type listAuditInput struct {
	After     uint64 `query:"after" doc:"revision after which the page begins"`
	Limit     int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"records in a page"`
	Last      int    `query:"last" minimum:"1" maximum:"10000" doc:"only so many, the newest of those that the other parameters let through"`
	Namespace string `query:"namespace" doc:"only changes of this namespace and its tokens: a name, or an id, also of a deleted one"`
	Actor     string `query:"actor" doc:"only changes by this token or node: an id"`
}

func (a *api) listAudit(ctx context.Context, in *listAuditInput) (*reply[adminapi.AuditList], error) {
	state := callerOf(ctx).state
	filter, err := auditFilter(state, in)
	if err != nil {
		return nil, err
	}
	skip := 0
	if in.Last > 0 {
		for r := range state.Audit(in.After) {
			if filter(r) {
				skip++
			}
		}
		skip = max(0, skip-in.Last)
	}
	out := adminapi.AuditList{Revision: state.Revision(), Records: []audit.Record{}}
	for r := range state.Audit(in.After) {
		if !filter(r) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if len(out.Records) == in.Limit {
			out.Next = out.Records[in.Limit-1].Revision
			break
		}
		out.Records = append(out.Records, *r)
	}
	return &reply[adminapi.AuditList]{out}, nil
}

// auditFilter returns what lets the asked-for records through.
func auditFilter(state *raftfsm.State, in *listAuditInput) (func(*audit.Record) bool, error) {
	id := ""
	if in.Namespace != "" {
		id = in.Namespace
		if n := state.NamespaceByName(in.Namespace); n != nil {
			id = strconv.FormatUint(n.Id, 10)
		} else if _, err := strconv.ParseUint(in.Namespace, 10, 64); err != nil {
			return nil, newProblem(adminapi.CodeNotFound, "namespace %q was not found: give the id of a deleted one", in.Namespace)
		}
	}
	tokens := map[string]bool{}
	if id != "" {
		tokens = tokensOf(state, id)
	}
	return func(r *audit.Record) bool {
		return (in.Actor == "" || by(r.Actor, in.Actor)) && (id == "" || concerns(r, id, tokens))
	}, nil
}

// by reports whether a record's actor is a token or a node, or a token by a node's word: token@node.
func by(actor, id string) bool {
	token, node, passed := strings.Cut(actor, "@")
	return actor == id || passed && (token == id || node == id)
}

// tokensOf returns the ids of the tokens that a namespace has or, as far as the records tell, had: the record of a
// token's change names the token alone.
func tokensOf(state *raftfsm.State, namespaceID string) map[string]bool {
	tokens := map[string]bool{}
	if id, err := strconv.ParseUint(namespaceID, 10, 64); err == nil {
		for t := range state.Tokens(id) {
			tokens[t.Id] = true
		}
	}
	for r := range state.Audit(0) {
		for i := range r.Changes {
			if c := &r.Changes[i]; c.Field == "namespace_id" && (c.Before == namespaceID || c.After == namespaceID) {
				tokens[c.ID] = true
			}
		}
	}
	return tokens
}

// concerns reports whether a record is of a change of a namespace or one of its tokens.
func concerns(r *audit.Record, namespaceID string, tokens map[string]bool) bool {
	for i := range r.Changes {
		c := &r.Changes[i]
		if c.Record == "namespace" && c.ID == namespaceID || c.Record == "token" && tokens[c.ID] {
			return true
		}
	}
	return false
}
