package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what nodes report to each other and to operators.
const version = "0.1.0"

func (p *program) versionCommand() *cobra.Command {
	return p.command("version", "Show the version of this program", cobra.NoArgs, nil, func(context.Context, *config, []string) error {
		commit := ""
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					commit = " " + s.Value
				}
			}
		}
		fmt.Fprintf(p.stdout, "atoll %s%s %s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	})
}
