// Argocd is what of Argo CD syncs: its repository server and its application controller, unchanged, and the cache
// between them, each under the name that the program is called by. Its API server, its web pages and its other
// controllers have no part in a sync and are left out; they are most of its code.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alicebob/miniredis/v2"
	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	repository "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/cmd/util"
	"github.com/argoproj/argo-cd/v3/util/log"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

func main() {
	klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
	commands := map[string]func() *cobra.Command{
		"argocd-application-controller": controller.NewCommand,
		"argocd-redis":                  cache,
		"argocd-repo-server":            repository.NewCommand,
	}
	build, known := commands[filepath.Base(os.Args[0])]
	if !known {
		fmt.Fprintf(os.Stderr, "called as %s: a name of a part of Argo CD is needed\n", os.Args[0])
		os.Exit(2)
	}
	util.SetAutoMaxProcs(false)
	if build().Execute() != nil {
		os.Exit(1)
	}
}

// cache answers as a Redis that keeps all in memory: what Argo CD's own tests use.
func cache() *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:   "argocd-redis",
		Short: "A cache in memory for the other two",
		RunE: func(*cobra.Command, []string) error {
			server := miniredis.NewMiniRedis()
			if err := server.StartAddr(address); err != nil {
				return err
			}
			defer server.Close()
			ended := make(chan os.Signal, 1)
			signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
			<-ended
			return nil
		},
	}
	command.Flags().StringVar(&address, "address", "127.0.0.1:6379", "where to listen")
	return command
}
