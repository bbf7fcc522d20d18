-- Health of a FineTuneJob by the kstatus rules: Healthy once its artifact is there, Progressing while it trains.
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
elseif ready.status == "True" then
  health.status = "Healthy"
elseif reconciling ~= nil and reconciling.status == "True" then
  health.message = reconciling.message
  local progress = obj.status.progress
  if progress ~= nil and progress.step ~= nil and progress.totalSteps ~= nil then
    health.message = string.format("step %d of %d", progress.step, progress.totalSteps)
  end
end
return health
