-- Health of a LLMService by the kstatus rules: Healthy while its endpoint answers, Degraded when somebody has to act.
local health = { status = "Progressing", message = "waiting for the operator" }
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, reconciling, stalled = conditions.Ready, conditions.Reconciling, conditions.Stalled
if ready == nil then
  return health
end

health.message = ready.message
if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.message
elseif ready.reason == "Suspended" then
  health.status = "Suspended"
elseif reconciling ~= nil and reconciling.status == "True" then
  health.message = reconciling.message
elseif ready.status == "True" then
  health.status = "Healthy"
end
return health
