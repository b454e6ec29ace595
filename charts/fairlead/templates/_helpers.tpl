{{- define "fairlead.name" -}}
{{- if contains "fairlead" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-fairlead" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "fairlead.selector" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "fairlead.labels" -}}
{{ include "fairlead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: fairlead
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "fairlead.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* DNS, and the store and sources: in the cluster or outside, never a node's metadata service. */}}
{{- define "fairlead.egress" -}}
- ports: [{port: 53}, {port: 53, protocol: UDP}]
- ports: {{ $ports := list }}{{ range .Values.networkPolicy.egressPorts }}{{ $ports = append $ports (dict "port" .) }}{{ end }}{{ toJson $ports }}
  to:
  - namespaceSelector: {}
  - ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}
  - ipBlock: {cidr: "::/0", except: ["fe80::/10"]}
{{- end -}}

{{- define "fairlead.storeEndpoint" -}}
{{- if .Values.store.endpoint }}{{ .Values.store.endpoint }}{{ else if .Values.objectStore.embedded.enabled }}{{ printf "http://%s-object-store.%s.svc:8333" (include "fairlead.name" .) .Release.Namespace }}{{ else }}{{ fail "store.endpoint: set it, or enable objectStore.embedded, when store.namespaces is set" }}{{ end -}}
{{- end -}}
