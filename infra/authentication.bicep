// App Service Authentication: signs operators in. Requests without a sign-in are let through, because Microsoft's redirects come
// from administrators who have no account here; the code decides what they may see (shared/web/access.py).

param appName string

@description('Client id of the registration that operators sign in to.')
param consoleClientId string

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: appName
}

resource authentication 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
      runtimeVersion: '~1'
    }
    globalValidation: {
      requireAuthentication: false
      unauthenticatedClientAction: 'AllowAnonymous'
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          // Only this tenant's accounts; which of them is decided by the registration's "assignment required".
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
          clientId: consoleClientId
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
        }
      }
    }
    login: {
      // Nobody's tokens are kept: the console needs to know who somebody is, not to act for them.
      tokenStore: {
        enabled: false
      }
    }
  }
}
