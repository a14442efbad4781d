package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func (a *api) registerNamespaces(h huma.API) {
	const all, one = "/v1/namespaces", "/v1/namespaces/{name}"
	register(h, http.MethodPost, all, "create-namespace", "Create a namespace, with a first token if asked", a.createNamespace)
	register(h, http.MethodGet, all, "list-namespaces", "List the namespaces by name", a.listNamespaces)
	register(h, http.MethodGet, one, "get-namespace", "Show a namespace", a.getNamespace)
	register(h, http.MethodPatch, one, "update-namespace", "Change a namespace's settings", a.updateNamespace)
	register(h, http.MethodDelete, one, "delete-namespace", "Delete a namespace with its tokens and data", a.deleteNamespace)
	register(h, http.MethodGet, "/v1/tombstones", "list-tombstones", "List deleted namespaces that some node has yet to purge", a.listTombstones)
}

type createNamespaceInput struct {
	ChangeParams
	Body adminapi.CreateNamespace
}

func (a *api) createNamespace(ctx context.Context, in *createNamespaceInput) (*reply[adminapi.CreatedNamespace], error) {
	state := callerOf(ctx).state
	durability, refusal := durabilityOf(in.Body.Durability)
	if refusal != nil {
		return nil, a.problem(refusal)
	}
	command := &raftfsm.CreateNamespace{Name: in.Body.Name, Durability: durability}
	id, secret := "", ""
	if in.Body.Token != nil {
		token, plain, refusal := newToken(state.Cluster(), in.Body.Token)
		if refusal != nil {
			refusal.Field = "token." + refusal.Field
			return nil, a.problem(refusal)
		}
		command.Tokens, id, secret = []raftfsm.NewToken{token}, token.ID, plain
	}

	result, err := a.propose(ctx, command, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	if state, err = a.stateAt(ctx, result.Revision); err != nil {
		return nil, err
	}
	namespace := state.Namespace(result.NamespaceID)
	if namespace == nil || namespace.State != atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
		return nil, newProblem(adminapi.CodePrecondition, "the namespace was created at revision %d and has been deleted since", result.NamespaceID)
	}

	out := adminapi.CreatedNamespace{Namespace: namespaceJSON(namespace)}
	if len(result.TokenIDs) > 0 {
		out.Token = createdToken(state, namespace, result, id, secret)
	}
	out.Change = a.change(ctx, result, in.ChangeParams)
	return &reply[adminapi.CreatedNamespace]{out}, nil
}

type listNamespacesInput struct {
	After string `query:"after" doc:"name after which the page begins"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"namespaces in a page"`
}

func (a *api) listNamespaces(ctx context.Context, in *listNamespacesInput) (*reply[adminapi.NamespaceList], error) {
	state := callerOf(ctx).state
	out := adminapi.NamespaceList{Revision: state.Revision(), Namespaces: []adminapi.Namespace{}}
	for n := range state.Namespaces(in.After) {
		if len(out.Namespaces) == in.Limit {
			out.Next = out.Namespaces[in.Limit-1].Name
			break
		}
		out.Namespaces = append(out.Namespaces, namespaceJSON(n))
	}
	return &reply[adminapi.NamespaceList]{out}, nil
}

// NamespaceInput names a namespace.
type NamespaceInput struct {
	Name string `path:"name"`
}

func (a *api) getNamespace(ctx context.Context, in *NamespaceInput) (*reply[adminapi.Namespace], error) {
	n, err := namespaceNamed(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Namespace]{namespaceJSON(n)}, nil
}

// namespaceNamed returns the active namespace of a name in the caller's state.
func namespaceNamed(ctx context.Context, name string) (*atollpb.Namespace, error) {
	n := callerOf(ctx).state.NamespaceByName(name)
	if n == nil {
		return nil, newProblem(adminapi.CodeNotFound, "namespace %q was not found", name)
	}
	return n, nil
}

type updateNamespaceInput struct {
	NamespaceInput
	ChangeParams
	Body adminapi.UpdateNamespace
}

func (a *api) updateNamespace(ctx context.Context, in *updateNamespaceInput) (*reply[adminapi.UpdatedNamespace], error) {
	n, err := namespaceNamed(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	command := &raftfsm.UpdateNamespace{ID: n.Id, ExpectedRevision: in.Body.ExpectedRevision}
	if in.Body.Durability != "" {
		durability, refusal := durabilityOf(in.Body.Durability)
		if refusal != nil {
			return nil, a.problem(refusal)
		}
		command.Durability = durability
	}

	result, err := a.propose(ctx, command, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	if n = state.Namespace(n.Id); n == nil {
		return nil, newProblem(adminapi.CodePrecondition, "the namespace was changed at revision %d and has been deleted since", result.Revision)
	}

	out := adminapi.UpdatedNamespace{Namespace: namespaceJSON(n)}
	out.Change = a.change(ctx, result, in.ChangeParams)
	return &reply[adminapi.UpdatedNamespace]{out}, nil
}

type deleteNamespaceInput struct {
	NamespaceInput
	ChangeParams
}

func (a *api) deleteNamespace(ctx context.Context, in *deleteNamespaceInput) (*reply[adminapi.Change], error) {
	n, err := namespaceNamed(ctx, in.Name)
	// A retry finds the name gone: the state machine, which remembers the key, answers it. Id 0 is no
	// namespace's.
	if err != nil && in.IdempotencyKey == "" {
		return nil, err
	}
	notFound := err

	result, err := a.propose(ctx, &raftfsm.DeleteNamespace{ID: n.GetId()}, in.ChangeParams)
	if err != nil {
		if notFound != nil && isCode(err, adminapi.CodeNotFound) {
			return nil, notFound
		}
		return nil, err
	}
	return &reply[adminapi.Change]{a.change(ctx, result, in.ChangeParams)}, nil
}

func (a *api) listTombstones(ctx context.Context, _ *struct{}) (*reply[adminapi.TombstoneList], error) {
	state := callerOf(ctx).state
	out := adminapi.TombstoneList{Revision: state.Revision(), Tombstones: []adminapi.Tombstone{}}
	for n := range state.Tombstones() {
		t := adminapi.Tombstone{ID: n.Id, Name: n.Name, DeletedRevision: n.DeletedRevision, WaitingFor: []string{}}
		for _, node := range state.Unpurged(n) {
			t.WaitingFor = append(t.WaitingFor, node.Id)
		}
		out.Tombstones = append(out.Tombstones, t)
	}
	return &reply[adminapi.TombstoneList]{out}, nil
}
