package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// registerProfiles serves the profiles of the Go runtime to admins, in the form that `go tool pprof` takes. They are the
// runtime's own, and so no part of the API's description.
func (a *api) registerProfiles(mux *http.ServeMux) {
	for path, h := range map[string]http.HandlerFunc{
		"cmdline": pprof.Cmdline,
		"profile": pprof.Profile,
		"symbol":  pprof.Symbol,
		"trace":   pprof.Trace,
	} {
		mux.Handle("GET /v1/pprof/"+path, a.adminsOnly(h))
	}
	mux.Handle("GET /v1/pprof/{name}", a.adminsOnly(func(w http.ResponseWriter, r *http.Request) {
		pprof.Handler(r.PathValue("name")).ServeHTTP(w, r)
	}))
}

// adminsOnly refuses callers of a lesser role, and profiles that would take longer than an answer may.
func (a *api) adminsOnly(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := callerOf(r.Context()); c.role != atollpb.Role_ROLE_ADMIN {
			writeProblem(w, newProblem(adminapi.CodeForbidden, "profiles take a token of the role admin: this one's is %s", roleWord(c.role)))
			return
		}
		if text := r.URL.Query().Get("seconds"); text != "" {
			seconds := 0
			if _, err := fmt.Sscan(text, &seconds); err != nil || seconds < 1 || seconds > profileSecondsMax {
				writeProblem(w, newProblem(adminapi.CodeInvalid, "seconds %q: it takes 1 to %d", text, profileSecondsMax))
				return
			}
		}
		h(w, r)
	})
}

// profileSecondsMax is how long a profile may take: less than an answer.
const profileSecondsMax = 60
