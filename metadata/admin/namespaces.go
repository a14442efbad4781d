package admin

import (
	"context"
	"net/http"
	"strconv"
	"strings"

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
	register(h, http.MethodDelete, one, "delete-namespace", "Delete a namespace with its tokens, and its data when its grace is over", a.deleteNamespace)
}

type createNamespaceInput struct {
	ChangeParams
	Body adminapi.CreateNamespace
}

func (a *api) createNamespace(ctx context.Context, in *createNamespaceInput) (*tagged[adminapi.CreatedNamespace], error) {
	durability, refusal := durabilityOf(in.Body.Durability)
	if refusal != nil {
		return nil, a.problem(refusal)
	}
	command := &raftfsm.CreateNamespace{Name: in.Body.Name, Durability: durability, Labels: labelsOf(in.Body.Labels)}
	if command.Limits, refusal = limitsOf(in.Body.Limits, func(l adminapi.SetLimit) adminapi.SetLimit { return l }); refusal != nil {
		return nil, a.problem(refusal)
	}
	made, err := a.firstToken(ctx, in.Body.Token, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	command.Tokens = made.list()

	result, err := a.propose(ctx, command, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	return a.created(ctx, result, made, in.ChangeParams)
}

// firstToken makes the token that comes with a namespace, if one is asked for.
func (a *api) firstToken(ctx context.Context, in *adminapi.CreateToken, p ChangeParams) (madeToken, error) {
	if in == nil {
		return madeToken{}, nil
	}
	made, refusal := a.newToken(ctx, in, p)
	if refusal != nil {
		refusal.Field = "token." + refusal.Field
		return madeToken{}, a.problem(refusal)
	}
	return made, nil
}

// created answers a change that has made or brought back a namespace.
func (a *api) created(ctx context.Context, result raftfsm.Result, made madeToken, p ChangeParams) (*tagged[adminapi.CreatedNamespace], error) {
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	namespace := state.Namespace(result.NamespaceID)
	if namespace == nil || namespace.State != atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
		return nil, newProblem(adminapi.CodePrecondition, "the namespace was created at revision %d and has been deleted since", result.Revision)
	}

	out := adminapi.CreatedNamespace{Namespace: namespaceJSON(namespace)}
	if len(result.TokenIDs) > 0 {
		out.Token = createdToken(state, namespace, result, made)
	}
	out.Change = a.change(ctx, result, p)
	return &tagged[adminapi.CreatedNamespace]{adminapi.ETag(namespace.ModifiedRevision), out}, nil
}

type listNamespacesInput struct {
	PageParams
	Label []string `query:"label,explode" maxItems:"64" doc:"key=value: only namespaces with that label; several: with each of them" example:"[\"env=prod\"]"`
	State string   `query:"state" enum:"active,suspended,in-grace" doc:"only namespaces in that state; absent: those that are not deleted"`
	Usage bool     `query:"usage" doc:"true: with what the live nodes told of each"`
}

func (a *api) listNamespaces(ctx context.Context, in *listNamespacesInput) (*reply[adminapi.NamespaceList], error) {
	labels, err := labelFilter(in.Label)
	if err != nil {
		return nil, err
	}
	state := callerOf(ctx).state
	rows, name := state.Namespaces(in.After), func(n adminapi.Namespace) string { return n.Name }
	if in.State == adminapi.StateInGrace {
		after, err := in.number()
		if err != nil {
			return nil, err
		}
		rows, name = state.InGrace(after), func(n adminapi.Namespace) string { return strconv.FormatUint(n.ID, 10) }
	}
	out := adminapi.NamespaceList{Revision: state.Revision()}
	out.Namespaces, out.Next = fill(rows, in.Limit, func(n *atollpb.Namespace) (adminapi.Namespace, bool) {
		if in.State != "" && stateWord(n) != in.State || !raftfsm.HasLabels(n, labels) {
			return adminapi.Namespace{}, false
		}
		return namespaceJSON(n), true
	}, name)
	if in.Usage {
		if err := a.addUsage(ctx, out.Namespaces); err != nil {
			return nil, err
		}
	}
	return &reply[adminapi.NamespaceList]{out}, nil
}

// labelFilter reads label parameters.
func labelFilter(params []string) ([]raftfsm.SetLabel, error) {
	var labels []raftfsm.SetLabel
	for _, param := range params {
		key, value, ok := strings.Cut(param, "=")
		if !ok || raftfsm.ValidateLabelKey(key) != nil || len(value) > raftfsm.LabelValueBytesMax {
			return nil, invalidAt("query.label", "it takes key=value, a key of 1 to %d bytes and a value of at most %d bytes",
				raftfsm.LabelKeyBytesMax, raftfsm.LabelValueBytesMax)
		}
		labels = append(labels, raftfsm.SetLabel{Key: key, Value: value})
	}
	return labels, nil
}

// NamespaceInput names a namespace.
type NamespaceInput struct {
	Name string `path:"name"`
}

func (a *api) getNamespace(ctx context.Context, in *NamespaceInput) (*tagged[adminapi.Namespace], error) {
	n, err := namespaceNamed(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	reports, err := a.Control.Uses(ctx, n.Id)
	if err != nil {
		return nil, a.problem(err)
	}
	out := namespaceJSON(n)
	out.Usage = usageJSON(callerOf(ctx).state.Group(raftfsm.GroupID).GetPrimary(), reports, n.Id)
	return &tagged[adminapi.Namespace]{adminapi.ETag(n.ModifiedRevision), out}, nil
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
	MatchParams
	Body adminapi.UpdateNamespace
}

func (a *api) updateNamespace(ctx context.Context, in *updateNamespaceInput) (*tagged[adminapi.UpdatedNamespace], error) {
	// After a renaming a retry finds the name gone: the state machine, which remembers the key, answers it. Id 0 is
	// no namespace's.
	n, notFound := namespaceNamed(ctx, in.Name)
	if notFound != nil && in.IdempotencyKey == "" {
		return nil, notFound
	}
	command, err := a.updateCommand(n.GetId(), in)
	if err != nil {
		return nil, err
	}

	result, err := a.propose(ctx, command, in.ChangeParams)
	if err != nil {
		if notFound != nil && isCode(err, adminapi.CodeNotFound) {
			return nil, notFound
		}
		return nil, err
	}
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	if n = state.Namespace(result.NamespaceID); n == nil || n.State != atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
		return nil, newProblem(adminapi.CodePrecondition, "the namespace was changed at revision %d and has been deleted since", result.Revision)
	}

	out := adminapi.UpdatedNamespace{Namespace: namespaceJSON(n)}
	out.Change = a.change(ctx, result, in.ChangeParams)
	return &tagged[adminapi.UpdatedNamespace]{adminapi.ETag(n.ModifiedRevision), out}, nil
}

// updateCommand reads what is to change.
func (a *api) updateCommand(id uint64, in *updateNamespaceInput) (*raftfsm.UpdateNamespace, error) {
	revision, err := in.revision()
	if err != nil {
		return nil, err
	}
	command := &raftfsm.UpdateNamespace{
		ID: id, ExpectedRevision: revision, Name: in.Body.Name, Labels: labelChanges(in.Body.Labels),
		Suspended: switchOf(in.Body.Suspended), ReadOnly: switchOf(in.Body.ReadOnly),
	}
	var refusal *raftfsm.Error
	command.Limits, refusal = limitsOf(in.Body.Limits, func(l *adminapi.SetLimit) adminapi.SetLimit {
		if l == nil {
			return adminapi.SetLimit{}
		}
		return *l
	})
	if refusal == nil && in.Body.Durability != "" {
		command.Durability, refusal = durabilityOf(in.Body.Durability)
	}
	if refusal != nil {
		return nil, a.problem(refusal)
	}
	return command, nil
}
