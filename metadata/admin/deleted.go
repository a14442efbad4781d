package admin

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func (a *api) registerDeleted(h huma.API) {
	const all, one = "/v1/deleted-namespaces", "/v1/deleted-namespaces/{id}"
	register(h, http.MethodGet, all, "list-deleted-namespaces", "List the namespaces in grace, and those that some node has yet to purge", a.listDeleted)
	register(h, http.MethodGet, one, "get-deleted-namespace", "Show a deleted namespace", a.getDeleted)
	register(h, http.MethodPost, one+"/undelete", "undelete-namespace", "Bring a namespace in grace back, without its old tokens", a.undelete)
	register(h, http.MethodPost, one+"/purge", "purge-namespace", "End a namespace's grace: its data is deleted at once", a.purge)
}

type deleteNamespaceInput struct {
	NamespaceInput
	ChangeParams
	MatchParams
	Now bool `query:"now" doc:"no grace: its data is deleted at once, and nothing brings it back"`
}

func (a *api) deleteNamespace(ctx context.Context, in *deleteNamespaceInput) (*reply[adminapi.DeletedNamespaceReply], error) {
	// A retry finds the name gone: the state machine, which remembers the key, answers it. Id 0 is no
	// namespace's.
	n, notFound := namespaceNamed(ctx, in.Name)
	if notFound != nil && in.IdempotencyKey == "" {
		return nil, notFound
	}
	revision, err := in.revision()
	if err != nil {
		return nil, err
	}
	command := &raftfsm.DeleteNamespace{ID: n.GetId(), ExpectedRevision: revision}
	if !in.Now && a.DeleteGrace > 0 {
		command.PurgeAtMs = a.Now().Add(a.DeleteGrace).UnixMilli()
	}

	result, err := a.propose(ctx, command, in.ChangeParams)
	if err != nil {
		if notFound != nil && isCode(err, adminapi.CodeNotFound) {
			return nil, notFound
		}
		return nil, err
	}
	return a.deleted(ctx, result, in.ChangeParams)
}

// deleted answers a change that has deleted or purged a namespace.
func (a *api) deleted(ctx context.Context, result raftfsm.Result, p ChangeParams) (*reply[adminapi.DeletedNamespaceReply], error) {
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	out := adminapi.DeletedNamespaceReply{}
	if n := state.Namespace(result.NamespaceID); n != nil && n.State != atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
		d := deletedJSON(state, n)
		out.Namespace = &d
	}
	out.Change = a.change(ctx, result, p)
	return &reply[adminapi.DeletedNamespaceReply]{out}, nil
}

func (a *api) listDeleted(ctx context.Context, in *PageParams) (*reply[adminapi.DeletedNamespaceList], error) {
	after, err := in.number()
	if err != nil {
		return nil, err
	}
	state := callerOf(ctx).state
	out := adminapi.DeletedNamespaceList{Revision: state.Revision()}
	out.Namespaces, out.Next = fill(state.Deleted(after), in.Limit,
		func(n *atollpb.Namespace) (adminapi.DeletedNamespace, bool) { return deletedJSON(state, n), true },
		func(n adminapi.DeletedNamespace) string { return strconv.FormatUint(n.ID, 10) })
	return &reply[adminapi.DeletedNamespaceList]{out}, nil
}

// DeletedInput names a deleted namespace, whose name may be another one's by now.
type DeletedInput struct {
	ID uint64 `path:"id" minimum:"1" example:"42"`
}

func (a *api) getDeleted(ctx context.Context, in *DeletedInput) (*tagged[adminapi.DeletedNamespace], error) {
	state := callerOf(ctx).state
	n := state.Namespace(in.ID)
	if n == nil || n.State == atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
		return nil, newProblem(adminapi.CodeNotFound, "there is no deleted namespace %d", in.ID)
	}
	return &tagged[adminapi.DeletedNamespace]{adminapi.ETag(n.ModifiedRevision), deletedJSON(state, n)}, nil
}

type undeleteInput struct {
	DeletedInput
	ChangeParams
	MatchParams
	Body adminapi.Undelete
}

func (a *api) undelete(ctx context.Context, in *undeleteInput) (*tagged[adminapi.CreatedNamespace], error) {
	revision, err := in.revision()
	if err != nil {
		return nil, err
	}
	made, err := a.firstToken(ctx, in.Body.Token, in.ChangeParams)
	if err != nil {
		return nil, err
	}

	command := &raftfsm.UndeleteNamespace{ID: in.ID, ExpectedRevision: revision, Name: in.Body.Name, Tokens: made.list()}
	result, err := a.propose(ctx, command, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	return a.created(ctx, result, made, in.ChangeParams)
}

type purgeInput struct {
	DeletedInput
	ChangeParams
	MatchParams
}

func (a *api) purge(ctx context.Context, in *purgeInput) (*reply[adminapi.DeletedNamespaceReply], error) {
	revision, err := in.revision()
	if err != nil {
		return nil, err
	}

	result, err := a.propose(ctx, &raftfsm.PurgeNamespace{ID: in.ID, ExpectedRevision: revision}, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	return a.deleted(ctx, result, in.ChangeParams)
}
