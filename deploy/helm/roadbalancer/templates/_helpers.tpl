{{- define "roadbalancer.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "roadbalancer.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Takes (list . "api"). */ -}}
{{- define "roadbalancer.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "roadbalancer.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "roadbalancer.redisSecret" -}}
{{- if .Values.redis.enabled }}{{ include "roadbalancer.name" . }}-redis{{ else }}{{ required "redis.url.secret names the Secret with the address of Redis, where redis.enabled is false" .Values.redis.url.secret }}{{ end }}
{{- end }}

{{- define "roadbalancer.podSettings" -}}
serviceAccountName: {{ include "roadbalancer.name" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.discovery }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: config
    configMap: {name: {{ include "roadbalancer.name" . }}}
  - name: tmp
    emptyDir: {}
  - name: data
    {{- if .Values.store.existingClaim }}
    persistentVolumeClaim: {claimName: {{ .Values.store.existingClaim }}}
    {{- else }}
    emptyDir: {}
    {{- end }}
{{- end }}

{{- define "roadbalancer.containerSettings" -}}
image: {{ include "roadbalancer.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: config, mountPath: /etc/roadbalancer, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  - {name: data, mountPath: /data}
{{- end }}

{{- define "roadbalancer.env" -}}
- name: ROADBALANCER_CONFIG
  value: /etc/roadbalancer/config.yaml
- name: ROADBALANCER_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "roadbalancer.redisSecret" . }}, key: {{ ternary "url" .Values.redis.url.key .Values.redis.enabled }}}}
{{- range .Values.secretEnv }}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}
{{- range .Values.env }}
- name: {{ .name }}
  value: {{ .value | quote }}
{{- end }}
{{- end }}
