// Verdict reads objects, one JSON document a line, and prints what kstatus, Flux and Argo CD each make of them:
// their own code, fed with the files that docs/integrations holds. It speaks to no cluster.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	argo "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/engine"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

type verdict struct {
	Kstatus string `json:"kstatus"`
	Flux    string `json:"flux"`
	Argo    string `json:"argo"`
	Said    string `json:"said"` // Argo CD's message; what kstatus and Flux say is the tool's own
}

type tools struct {
	flux engine.StatusReader
	argo lua.ResourceHealthOverrides
}

func main() {
	flux := flag.String("flux", "", "a Kustomization with healthCheckExprs")
	argocd := flag.String("argo", "", "a ConfigMap argocd-cm with resource.customizations")
	flag.Parse()
	if err := run(*flux, *argocd); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(flux, argocd string) error {
	both, err := read(flux, argocd)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(lines.Bytes()); err != nil {
			return err
		}
		said, err := both.judge(object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if err := out.Encode(said); err != nil {
			return err
		}
	}
	return lines.Err()
}

// read takes the two files as their controllers do: the same types, the same loaders.
func read(flux, argocd string) (*tools, error) {
	kustomization := struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}{}
	if err := load(flux, &kustomization); err != nil {
		return nil, err
	}
	reader, err := cel.NewStatusReader(kustomization.Spec.HealthCheckExprs)
	if err != nil {
		return nil, err
	}
	config := struct {
		Data map[string]string `json:"data"`
	}{}
	if err := load(argocd, &config); err != nil {
		return nil, err
	}
	overrides := map[string]argo.ResourceOverride{}
	err = yaml.Unmarshal([]byte(config.Data["resource.customizations"]), &overrides)
	return &tools{flux: reader(noMapper{}), argo: overrides}, err
}

func load(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, into)
}

func (t *tools) judge(object *unstructured.Unstructured) (*verdict, error) {
	generic, err := status.Compute(object)
	if err != nil {
		return nil, err
	}
	flux, err := t.flux.ReadStatusForObject(context.Background(), nil, object)
	if err != nil {
		return nil, err
	}
	if flux.Error != nil {
		return nil, flux.Error
	}
	argo, err := health.GetResourceHealth(object, t.argo)
	if err != nil {
		return nil, err
	}
	if argo == nil {
		return nil, fmt.Errorf("Argo CD has no health script for it")
	}
	return &verdict{
		Kstatus: generic.Status.String(),
		Flux:    flux.Status.String(),
		Argo:    string(argo.Status),
		Said:    argo.Message,
	}, nil
}

// noMapper stands where Flux looks up resources in a cluster; reading a status that is at hand needs none.
type noMapper struct{ meta.RESTMapper }
