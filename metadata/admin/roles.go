package admin

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// leastRole is the table from an operation to the least role that may call it. What it doesn't know takes an admin.
func leastRole(operation string) atollpb.Role {
	switch operation {
	case "list-namespaces", "get-namespace", "list-deleted-namespaces", "get-deleted-namespace",
		"list-tokens", "get-token", "list-nodes", "get-node", "list-groups", "get-cluster", "get-authority", "list-audit", "list-invites", "watch", "events":
		return atollpb.Role_ROLE_VIEWER
	case "create-namespace", "update-namespace", "delete-namespace", "undelete-namespace", "purge-namespace",
		"create-token", "update-token", "rotate-token", "revoke-token":
		return atollpb.Role_ROLE_OPERATOR
	}
	return atollpb.Role_ROLE_ADMIN
}

// rank orders the roles of this API; 0 is none of them.
func rank(r atollpb.Role) int {
	switch r {
	case atollpb.Role_ROLE_VIEWER:
		return 1
	case atollpb.Role_ROLE_OPERATOR:
		return 2
	case atollpb.Role_ROLE_ADMIN:
		return 3
	}
	return 0
}

func roleWord(r atollpb.Role) string { return word(r.String(), "ROLE_") }

// describeRole says who may call an operation, for its description.
func describeRole(operation string) string {
	role := leastRole(operation)
	switch role {
	case atollpb.Role_ROLE_VIEWER:
		return "viewer, operator or admin"
	case atollpb.Role_ROLE_OPERATOR:
		return "operator, except on the default namespace, or admin"
	}
	return roleWord(role)
}

// requireRole refuses an operation to a caller of a lesser role. The default namespace, whose tokens open this API,
// is changed by admins alone.
func requireRole(operation string) func(huma.Context, func(huma.Context)) {
	least := leastRole(operation)
	return func(ctx huma.Context, next func(huma.Context)) {
		need, where := least, ""
		if need == atollpb.Role_ROLE_OPERATOR && ctx.Param("name") == raftfsm.DefaultNamespace {
			need, where = atollpb.Role_ROLE_ADMIN, " on the default namespace"
		}
		if role := callerOf(ctx.Context()).role; rank(role) < rank(need) {
			refuse(ctx, newProblem(adminapi.CodeForbidden, "%s%s takes a token of the role %s: this one's is %s",
				operation, where, roleWord(need), roleWord(role)))
			return
		}
		next(ctx)
	}
}

// refuse answers before the operation sees the request.
func refuse(ctx huma.Context, p *problem) {
	ctx.SetHeader("Content-Type", "application/problem+json")
	ctx.SetStatus(p.Status)
	e := json.NewEncoder(ctx.BodyWriter())
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return // the client is gone
	}
}
