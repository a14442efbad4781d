package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// declaration is the file that ns apply takes.
type declaration struct {
	Namespaces []declared `yaml:"namespaces"`
}

// declared is a namespace as it should be. What is absent stays as it is; labels and limits, if given, are all of them.
type declared struct {
	Name       string                   `yaml:"name"`
	Durability string                   `yaml:"durability"`
	Labels     *map[string]string       `yaml:"labels"`
	Limits     *map[string]declaredSize `yaml:"limits"`
	Suspended  *bool                    `yaml:"suspended"`
	ReadOnly   *bool                    `yaml:"read-only"`
}

// declaredSize is a limit: HARD or HARD:SOFT, as --limit takes it.
type declaredSize adminapi.SetLimit

// UnmarshalYAML reads a number or a text.
func (d *declaredSize) UnmarshalYAML(n *yaml.Node) error {
	limit, err := parseLimit(n.Value)
	if err != nil || limit == nil || n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: limit %q: it takes HARD or HARD:SOFT, such as 10GiB or 1000:800", n.Line, n.Value)
	}
	*d = declaredSize(*limit)
	return nil
}

// applyStep is one change that makes what is what was declared.
type applyStep struct {
	Action  string   `json:"action"` // create, update or delete
	Name    string   `json:"name"`
	Changes []string `json:"changes,omitempty"`

	create   *adminapi.CreateNamespace
	update   *adminapi.UpdateNamespace
	revision uint64 // of what is changed or deleted, as it was looked at
}

func (p *program) nsApply() *cobra.Command {
	var file string
	var yes, dryRun, prune bool
	c := p.callingCommand("apply -f FILE", "Make namespaces what a file declares, after showing the difference", cobra.NoArgs, []string{"wait"},
		func(ctx context.Context, a *adminCall, _ []string) error {
			want, err := readDeclaration(file, a.stdin)
			if err != nil {
				return err
			}
			if prune && want.Namespaces == nil {
				return fmt.Errorf("%s: it has no list of namespaces, and --prune would delete all: write namespaces: [] if that is meant", file)
			}
			have, err := a.listed(ctx)
			if err != nil {
				return err
			}
			steps := difference(want, have, prune)
			if err := a.printSteps(steps); err != nil || dryRun || len(steps) == 0 {
				return err
			}
			if !yes {
				if err := a.confirm(file); err != nil {
					return err
				}
			}
			return a.apply(ctx, steps)
		})
	c.Long = c.Short + `.

  namespaces:
  - name: acme
    durability: local
    labels: {env: prod, team: web}
    limits: {keys: 1000000, bytes: 10GiB:8GiB, connections: 100}   # HARD or HARD:SOFT
    read-only: false
    suspended: false

What is absent stays as it is; labels and limits, where they are given, are all that the namespace has afterwards. New
namespaces have no token: make one with atoll token create. A namespace that has changed since the difference was shown is
left alone, and an error says so; what was done before stays done, and another apply goes on.
--timeout is of each step.`
	c.Flags().StringVarP(&file, "file", "f", "", "the YAML file; - reads stdin")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference and change nothing")
	c.Flags().BoolVar(&prune, "prune", false, "delete the namespaces that the file doesn't declare, but for the default one")
	if err := c.MarkFlagRequired("file"); err != nil {
		panic(err) // there is such a flag
	}
	return c
}

func readDeclaration(name string, stdin io.Reader) (declaration, error) {
	var d declaration
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(stdin)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return d, fmt.Errorf("read %s: %w", name, plain(err))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&d); err != nil {
		return d, fmt.Errorf("%s: %w", name, err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("%s: it holds more than one document", name)
	}
	seen := map[string]bool{}
	for i, n := range d.Namespaces {
		switch {
		case n.Name == "":
			return d, fmt.Errorf("%s: namespace %d has no name", name, i+1)
		case seen[n.Name]:
			return d, fmt.Errorf("%s: namespace %q comes twice", name, n.Name)
		}
		seen[n.Name] = true
	}
	return d, nil
}

// difference returns what has to be done, in the order of the file, deletions last.
func difference(want declaration, have []adminapi.Namespace, prune bool) []applyStep {
	byName := map[string]adminapi.Namespace{}
	for _, n := range have {
		byName[n.Name] = n
	}
	steps := []applyStep{}
	for _, d := range want.Namespaces {
		n, ok := byName[d.Name]
		delete(byName, d.Name)
		if !ok {
			steps = append(steps, d.creation()...)
		} else if s := d.change(n); len(s.Changes) > 0 {
			steps = append(steps, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if prune && !strings.HasPrefix(name, "__") {
			steps = append(steps, applyStep{Action: "delete", Name: name, revision: byName[name].ModifiedRevision})
		}
	}
	return steps
}

// creation makes a namespace. What only a change can set follows.
func (d declared) creation() []applyStep {
	in := &adminapi.CreateNamespace{Name: d.Name, Durability: d.Durability}
	blank := adminapi.Namespace{Name: d.Name, Durability: "async"}
	s := d.change(blank)
	if d.Labels != nil {
		in.Labels = *d.Labels
	}
	if d.Limits != nil {
		in.Limits = map[string]adminapi.SetLimit{}
		for name, limit := range *d.Limits {
			in.Limits[name] = adminapi.SetLimit(limit)
		}
	}
	steps := []applyStep{{Action: "create", Name: d.Name, Changes: s.Changes, create: in}}
	if s.update.Suspended != nil || s.update.ReadOnly != nil {
		steps = append(steps, applyStep{
			Action: "update", Name: d.Name, update: &adminapi.UpdateNamespace{Suspended: s.update.Suspended, ReadOnly: s.update.ReadOnly},
		})
	}
	return steps
}

// change makes a namespace what is declared.
func (d declared) change(n adminapi.Namespace) applyStep {
	s := applyStep{Action: "update", Name: d.Name, update: &adminapi.UpdateNamespace{}, revision: n.ModifiedRevision}
	say := func(format string, args ...any) { s.Changes = append(s.Changes, fmt.Sprintf(format, args...)) }
	if d.Durability != "" && d.Durability != n.Durability {
		s.update.Durability = d.Durability
		say("durability: %s -> %s", n.Durability, d.Durability)
	}
	if d.Labels != nil {
		s.update.Labels = map[string]*string{}
		for _, key := range slices.Sorted(maps.Keys(*d.Labels)) {
			value := (*d.Labels)[key]
			if was, ok := n.Labels[key]; !ok || was != value {
				s.update.Labels[key] = &value
				say("label %s: %q -> %q", key, was, value)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
			if _, ok := (*d.Labels)[key]; !ok {
				s.update.Labels[key] = nil
				say("label %s: %q -> none", key, n.Labels[key])
			}
		}
	}
	if d.Limits != nil {
		d.changeLimits(n, s.update, say)
	}
	if d.Suspended != nil && *d.Suspended != (n.State == adminapi.StateSuspended) {
		s.update.Suspended = d.Suspended
		say("suspended: %t -> %t", !*d.Suspended, *d.Suspended)
	}
	if d.ReadOnly != nil && *d.ReadOnly != n.ReadOnly {
		s.update.ReadOnly = d.ReadOnly
		say("read-only: %t -> %t", n.ReadOnly, *d.ReadOnly)
	}
	return s
}

func (d declared) changeLimits(n adminapi.Namespace, update *adminapi.UpdateNamespace, say func(string, ...any)) {
	describe := func(l adminapi.Limit, ok bool) string {
		if !ok {
			return "none"
		}
		return describeLimit(l)
	}
	update.Limits = map[string]*adminapi.SetLimit{}
	for _, name := range slices.Sorted(maps.Keys(*d.Limits)) {
		limit := adminapi.SetLimit((*d.Limits)[name])
		is := adminapi.Limit{Soft: limit.Soft, Hard: limit.Hard}
		was, ok := n.Limits[name]
		if is == (adminapi.Limit{}) { // both bounds 0: none
			continue
		}
		if !ok || was != is {
			update.Limits[name] = &limit
			say("limit %s: %s -> %s", name, describe(was, ok), describe(is, true))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Limits)) {
		if is, ok := (*d.Limits)[name]; !ok || is.Soft == 0 && is.Hard == 0 {
			update.Limits[name] = nil
			say("limit %s: %s -> none", name, describeLimit(n.Limits[name]))
		}
	}
}

func (a *adminCall) printSteps(steps []applyStep) error {
	if a.text("output") == "json" {
		return a.print(steps, nil)
	}
	if len(steps) == 0 {
		_, err := fmt.Fprintln(a.stdout, "nothing to change")
		return err
	}
	for _, s := range steps {
		if s.Action == "update" && len(s.Changes) == 0 {
			continue // the rest of a creation
		}
		sign := map[string]string{"create": "+", "update": "~", "delete": "-"}[s.Action]
		if _, err := fmt.Fprintf(a.stdout, "%s %s %s\n", sign, s.Action, s.Name); err != nil {
			return err
		}
		for _, c := range s.Changes {
			if _, err := fmt.Fprintf(a.stdout, "    %s\n", c); err != nil {
				return err
			}
		}
	}
	return nil
}

// confirm asks the person at the terminal.
func (a *adminCall) confirm(file string) error {
	in, ok := a.stdin.(*os.File)
	if file == "-" || !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("nothing was changed: give --yes, since there is nobody to ask")
	}
	fmt.Fprint(a.stderr, "Apply this? Only yes does. ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// within limits the time of one call: a person reads the difference as long as they like, and steps may be many.
func (a *adminCall) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, max(a.duration("timeout"), a.duration("wait")+waitSlack))
}

func (a *adminCall) listed(ctx context.Context) ([]adminapi.Namespace, error) {
	ctx, cancel := a.within(ctx)
	defer cancel()
	return a.client.Namespaces(ctx)
}

func (a *adminCall) apply(ctx context.Context, steps []applyStep) error {
	for i, s := range steps {
		change, err := a.applyOne(ctx, s)
		if err != nil {
			return fmt.Errorf("%s %s (%d of %d steps were done): %w", s.Action, s.Name, i, len(steps), err)
		}
		a.warn(change)
	}
	return nil
}

func (a *adminCall) applyOne(ctx context.Context, s applyStep) (adminapi.Change, error) {
	ctx, cancel := a.within(ctx)
	defer cancel()
	options := a.options()
	if s.revision > 0 {
		options = append(options, adminapi.WithIfMatch(s.revision))
	}
	switch s.Action {
	case "create":
		out, err := a.client.CreateNamespace(ctx, *s.create, options...)
		return out.Change, err
	case "delete":
		out, err := a.client.DeleteNamespace(ctx, s.Name, options...)
		return out.Change, err
	}
	out, err := a.client.UpdateNamespace(ctx, s.Name, *s.update, options...)
	return out.Change, err
}
